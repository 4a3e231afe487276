"""Rungs compared: statistics, contrasts, verdicts."""

try:
    import scipy  # noqa: F401
except ImportError as error:
    from recipe.errors import RunError

    raise RunError("statistics need scipy: pip install -e '.[report]'") from error
