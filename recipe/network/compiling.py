"""`runtime.compile`: the network and its loss as one compiled function of images and targets.

Compiled code is cached on the disk by PyTorch itself, in a folder of the user's ($TORCHINDUCTOR_CACHE_DIR; without it
/tmp/torchinductor_USER), so a second start takes less time.
"""

import os

import torch
from torch import Tensor, nn

from recipe.config import RuntimeConfig

MOST_SIZES = 3  # with the short steps, half of what PyTorch compiles of a function before it runs it eagerly


class Compiled(nn.Module):
    """Calls a module compiled. Each shape is compiled by itself: an epoch's last, short step once more.

    Where images have more than MOST_SIZES sizes in a run, the second shape is compiled for all others too: PyTorch
    gives up after eight.
    """

    def __init__(self, module: nn.Module, config: RuntimeConfig, sizes: int = 1) -> None:
        """`sizes`: of images, in a run."""
        super().__init__()
        self.module = module
        self._replays = replays(config)
        module.compile(dynamic=False if sizes <= MOST_SIZES else None, mode=config.compile_mode)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The module's own output; with CUDA graphs in memory that the next call uses again."""
        if self._replays:
            torch.compiler.cudagraph_mark_step_begin()
        output: tuple[Tensor, ...] = self.module(*inputs)
        return output


def cache_folder() -> str:
    """Folder where PyTorch keeps what it has compiled, for all later runs of this user."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    return os.environ.get("TORCHINDUCTOR_CACHE_DIR") or default_cache_dir()


def replays(config: RuntimeConfig) -> bool:
    """True where a GPU shall record a pass over a micro-batch and replay it, as CUDA graphs."""
    return config.compile and config.compile_mode != "default"
