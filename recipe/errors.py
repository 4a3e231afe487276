"""The errors that a user can cause. Each carries one short message: what, where, and what would be right."""


class UserError(Exception):
    """Something the user can put right. `train.py` prints its message once and exits with code 2."""

    on_every_rank = True


def rank_local(error: UserError) -> UserError:
    """Mark an error that not every process of the run meets: the one that does must print it."""
    error.on_every_rank = False
    return error


class ConfigError(UserError):
    """A wrong key, value or combination of values."""


class DataError(UserError):
    """A missing or unreadable file or folder; the message names it."""


class RunError(UserError):
    """A run folder that does not fit this run, or a run that cannot go on."""
