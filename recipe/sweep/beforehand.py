"""What the jobs of a sweep need from outside, fetched once before the first: they may run where there is no network."""

from collections.abc import Sequence

from recipe.config import Config
from recipe.data.prepare.fetch import FETCHED, fetch
from recipe.machine.signals import StopSignal
from recipe.network import fetching
from recipe.output import say


def fetch_once(configs: Sequence[Config]) -> None:
    """Fetch published weights and data that are not there, and say where they are. Raises UserError, Stopped.

    Where no job needs any, nothing is imported for it.

    Args:
        configs: of the jobs that have not finished.
    """
    data = {(config.data.name, config.data.root): config.data for config in configs if config.data.name in FETCHED}
    models = [config.model for config in configs if fetching.is_needed(config.model)]
    if not data and not models:
        return
    with StopSignal(at_once=True):  # what is half fetched is cleared away
        for each in data.values():
            fetch(each)
        for weights in fetching.fetch_all(models):
            say(f"weights {weights}")
