"""JSON records of cohorts, runs, searches and campaigns: written with a checksum, checked and typed when they are read.

The checksum is for damage, which changes bits: a record of another length was edited on purpose (or is cut off, which
is no JSON), and is checked for its types alone, as one without a checksum, of an earlier version. One that a newer
version wrote is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crm_models.core.errors import DataError
from crm_models.core.files import json_text, new_file, read_json_sized
from crm_models.core.places import Place

FORMAT = 1
"""Format of the records that this version writes. A version that cannot read them must get a higher number."""

CHECKSUM = "checksum"
PLACES = ("cohort", "cohort_folder", "run")
"""Entries that say where something lies: not part of the checksum, because a workspace may be moved."""

_DIGITS = 12

Types = Mapping[str, type | tuple[type, ...]]


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its checksum."""
    written = json.loads(json_text(content))
    size = len(json_text(written | {CHECKSUM: _checksum(written, 0)}).encode())
    return {**content, CHECKSUM: _checksum(written, _size(written, size))}


def write_record(file: Path, content: Mapping[str, Any]) -> None:
    """Write a record with its checksum, atomically."""
    with new_file(file) as part:
        part.write_text(json_text(sealed(content)), encoding="utf-8")


def read_record(file: Place, what: str, types: Types, *, remedy: str, versioned: bool = True) -> dict[str, Any]:
    """The content of a record, without its checksum. `DataError` if it is missing, damaged, or of a newer version.

    what: such as "a run", for the message. types: of the entries that it must have. remedy: what to do about damage.
    versioned: whether it must have a `format`.
    """
    try:
        content, size = read_json_sized(file)
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from None
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected {what}, found JSON that is none; {remedy}")
    if versioned:
        _need_format(file, what, content.get("format"), remedy)
    for name, kind in types.items():
        if name not in content or not _is(content[name], kind):
            found = f"{content[name]!r:.60}" if name in content else "none"
            raise DataError(f"{file}: expected {what} with {name!r} of type {_said(kind)}, found {found}; {remedy}")
    checksum = content.pop(CHECKSUM, None)
    found = _checksum(content, _size(content, size))
    if checksum is not None and checksum != found and str(checksum)[-_DIGITS:] == found[-_DIGITS:]:
        raise DataError(f"{file}: expected {what} as it was written, found it changed or damaged; {remedy}")
    return content


def _need_format(file: Place, what: str, found: object, remedy: str) -> None:
    if isinstance(found, int) and found > FORMAT:
        raise DataError(
            f"{file}: {what} written by a newer version of this program (format {found}; this version reads up to "
            f"{FORMAT}); update the program to read it"
        )
    if found != FORMAT or isinstance(found, bool):
        raise DataError(f"{file}: expected {what} of format {FORMAT}, found {found!r:.60}; {remedy}")


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _said(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join("null" if k is type(None) else k.__name__ for k in kinds)


def _checksum(content: Mapping[str, Any], size: int) -> str:
    """SHA-256 of what was read from JSON, apart from `PLACES`, and the length of the file without them."""
    kept = {name: value for name, value in content.items() if name not in (CHECKSUM, *PLACES)}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    return f"{digest}-{size:0{_DIGITS}d}"


def _size(content: Mapping[str, Any], size: int) -> int:
    return size - sum(len(json_text(content[name]).encode()) for name in PLACES if name in content)
