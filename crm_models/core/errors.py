"""Errors that a user can act on: what was expected, what was found, where, and what to do."""


class CrmError(Exception):
    """Base class: the command line prints the message as one `error: ` line and exits with 2."""


class ConfigError(CrmError, ValueError):
    """A setting has an invalid value."""


class DataError(CrmError, ValueError):
    """A file or table has unexpected content; the message names file, row and column where known."""


class RunError(CrmError, RuntimeError):
    """A run folder cannot be used: it is unfinished, damaged, or lacks the model needed."""


class AccessError(CrmError, PermissionError):
    """A person may not do this: which role is needed, and which they have."""
