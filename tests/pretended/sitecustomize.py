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


class _Pretending(MetaPathFinder, Loader):
    """Finds torch.cuda, and lets it be loaded by its own loader."""

    def __init__(self, count: int) -> None:
        self.count = count

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == "torch.cuda" else None
        if spec is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec) if self.loader is not None else None

    def exec_module(self, module: ModuleType) -> None:
        assert self.loader is not None
        self.loader.exec_module(module)
        pretended: Any = module
        pretended.is_available = lambda: self.count > 0
        pretended.device_count = lambda: self.count
        pretended.get_device_name = lambda device=None: "Pretended GPU"
        pretended.is_current_stream_capturing = lambda: False  # which PyTorch's optimizers ask, on any device


if os.environ.get("PRETENDED_GPUS", "").isdecimal():
    sys.meta_path.insert(0, _Pretending(int(os.environ["PRETENDED_GPUS"])))
