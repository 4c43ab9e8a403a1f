"""Read packed files: gzip, a zip of one file, or a zip of several, which counts as a folder."""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from crm_models.core.errors import DataError
from crm_models.data.sources.workbook import CONTENT_TYPES, is_workbook

_SPREADSHEET = b"\xd0\xcf\x11\xe0"
_DAMAGED = (zipfile.BadZipFile, EOFError, OSError, zlib.error, RuntimeError, NotImplementedError)


def read_bytes(file: Path) -> bytes:
    """The content of a file, unpacked if it is gzip or a zip of one file; else `DataError`."""
    file = Path(file)
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{file}: expected a file, found none") from None
    except IsADirectoryError:
        raise DataError(f"{file}: expected a file, found a folder") from None
    return unpack(raw, file.name)


def unpack(raw: bytes, name: str) -> bytes:
    """The unpacked bytes of gzip or a zip archive of one file; other bytes unchanged.

    A workbook (.xlsx) is a zip too, but is returned unchanged. `DataError` for a damaged or encrypted archive, one with
    several files, and the older spreadsheet format (.xls).
    """
    try:
        for _ in range(3):  # a zip of a gzip occurs; the limit stops archives that contain themselves
            if raw[:2] == b"\x1f\x8b":
                raw = gzip.decompress(raw)
            elif is_workbook(raw):
                break
            elif raw[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
                raw = _only_member(raw, name)
            elif raw[:4] == _SPREADSHEET:
                raise DataError(f"{name}: expected CSV, Parquet or .xlsx, found an older spreadsheet; save it as CSV")
            else:
                break
        return raw
    except _DAMAGED as error:
        raise _damaged(name, error) from None


def _only_member(raw: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = _members(archive)
        if len(names) != 1:
            raise DataError(f"{name}: expected one file in the archive, found {len(names)}; unpack it first")
        return archive.read(names[0])


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]


def _damaged(name: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:120]
    return DataError(f"{name}: expected a packed file, found a damaged or encrypted one ({reason})")


@contextmanager
def unpacked(sources: Sequence[Path]) -> Iterator[list[Path]]:
    """The sources, with every zip of several files replaced by a temporary folder of its files."""
    with tempfile.TemporaryDirectory(prefix="crm-import-") as temporary:
        yield [_folder_of(Path(source), Path(temporary) / str(k)) for k, source in enumerate(sources)]


def _folder_of(source: Path, folder: Path) -> Path:
    if source.suffix.lower() != ".zip" or not source.is_file():
        return source
    try:
        with zipfile.ZipFile(source) as archive:
            names = _members(archive)
            if len(names) > 1 and CONTENT_TYPES not in names:
                archive.extractall(folder, names)
                while len(inside := list(folder.iterdir())) == 1 and inside[0].is_dir():
                    folder = inside[0]
                return folder
            if len(names) == 1:
                # Many formats are recognised by file name, so the name of the file in the archive is kept.
                return Path(archive.extract(names[0], folder))
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, NotImplementedError) as error:
        raise _damaged(source.name, error) from None
    return source
