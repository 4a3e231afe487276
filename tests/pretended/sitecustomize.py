"""Makes PyTorch report as many GPUs as $PRETENDED_GPUS says, in every process that has this folder in PYTHONPATH.

    make test GPUS=1

Nothing can be computed on them: a process that tries ends with PyTorch's error. Python imports this module at its
start, by its name; PyTorch is not imported for it, but altered as soon as somebody else does.
"""

import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

COUNT = os.environ.get("PRETENDED_GPUS", "")
INSTEAD: dict[str, dict[str, Any]] = {
    "torch.cuda": {
        "is_available": lambda: int(COUNT) > 0,
        "device_count": lambda: int(COUNT),
        "get_device_name": lambda device=None: "Pretended GPU",
        "is_current_stream_capturing": lambda: False,  # optimizers ask it for parameters on a CPU too, up to 2.13
    },
    "torch.accelerator": {"current_accelerator": lambda check_available=False: None},  # from 2.14 on they ask this
}


class _Altered(Loader):
    """Loads a module as its own loader does, and replaces some of its functions."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        vars(module).update(INSTEAD[module.__name__])


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in INSTEAD else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Altered(spec.loader)
        return spec


if COUNT.isdecimal():
    sys.meta_path.insert(0, _Finder())
