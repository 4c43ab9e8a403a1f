"""Errors a person can act on: what was expected, what was found, where, and what to do."""


class CrmError(Exception):
    """The root: the command line prints its message as one `error: ` line and exits with 2."""


class ConfigError(CrmError, ValueError):
    """A setting has a value it cannot have."""


class DataError(CrmError, ValueError):
    """A file or table does not hold what it should; the message names file, row and column where known."""


class RunError(CrmError, RuntimeError):
    """A run folder cannot do what was asked of it: unfinished, damaged, or without the model in question."""
