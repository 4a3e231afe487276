"""Hydra's launchers for sweeps: `hydra/launcher=torchrun` (the default) and `hydra/launcher=slurm`."""
