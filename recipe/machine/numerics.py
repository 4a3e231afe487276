"""Which of several algorithms PyTorch takes for one operation: set at the start of every command that computes."""

from typing import Any

import torch

from recipe.config import RuntimeConfig

# PyTorch's own choice, of convolutions and of matrix products.
TF32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def set_numerics(config: RuntimeConfig, sizes_repeat: bool = True) -> None:
    """Let PyTorch compute as the config says.

    Args:
        sizes_repeat: cuDNN tries its algorithms by the clock, once for each size of a batch. Otherwise trials would
            cost more than they save, and its heuristics choose. So they do with `deterministic`: a trial may end
            otherwise in every process.
    """
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = sizes_repeat and not config.deterministic
    convolutions, products = TF32 if config.tf32 is None else (config.tf32, config.tf32)
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = products


def numerics(device: torch.device) -> dict[str, Any]:
    """What is set, for a run's record; empty where the device knows neither cuDNN nor TF32."""
    if device.type != "cuda":
        return {}
    return {
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        "tf32_matrix_products": torch.backends.cuda.matmul.allow_tf32,
    }
