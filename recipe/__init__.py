"""recipe-ladder: training recipes as YAML, ablation rungs as differences."""

__version__ = "0.2.0"
