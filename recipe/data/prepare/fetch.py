"""What a training's data needs done before they can be opened."""

from collections.abc import Callable
from pathlib import Path

from recipe.config import DataConfig
from recipe.data.prepare.grocery import prepare_grocery

# Names of data sets that can be fetched → what puts them into data.root (null: the user's cache folder).
FETCHED: dict[str, Callable[[str | None], Path]] = {"grocery": prepare_grocery}


def fetch(config: DataConfig) -> None:
    """Fetch what can be fetched and is not there: called by one process, before any reads. Raises DataError."""
    if config.name in FETCHED:
        FETCHED[config.name](config.root)
