"""What several tests use: plans composed as train.py composes them."""

import os
from collections.abc import Callable
from functools import cache

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

from recipe import compose
from recipe.compose import PROJECT, Plan


@pytest.fixture
def plan() -> Callable[..., Plan]:
    """The plan of a command line: `plan("+recipe=v2", "scale=demo")`. Errors come as Hydra raises them."""
    return lambda *overrides: _plan(os.environ.get("WORLD_SIZE"), *overrides)


@cache
def _plan(world_size: str | None, *overrides: str) -> Plan:
    compose.register()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        composed = hydra.compose("config", list(overrides), return_hydra_config=True)
        return compose.plan(composed, composed.hydra)
