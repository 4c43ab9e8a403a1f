"""Errors that a user can act on: what was expected, what was found, where, and what to do."""

import os


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory has run out; torch says so by a plain `RuntimeError`."""
    torch_says = ("not enough memory", "can't allocate memory", "out of memory", "Storage size calculation overflowed")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in torch_says)
    )


def why(error: BaseException) -> str:
    """An error in one line for a user: what it says, or, where it is ours to mend, its kind as well."""
    if isinstance(error, CrmError):
        return str(error)
    if is_out_of_memory(error):
        return "expected enough memory for this cohort, found too little; use fewer customers or a larger machine"
    if isinstance(error, OSError):
        path = str(error.filename or "")
        if path.endswith(".part"):  # a temporary name, which the user does not know
            path = os.path.dirname(path)
        where = f"{path}: " if path else ""
        reason = error.strerror or error
        return f"{where}expected to read or write here, found: {reason}; check disk space and permissions"
    return f"unexpected {type(error).__name__}: {error}"
