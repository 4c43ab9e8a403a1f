"""Read packed files: gzip, a zip of one file, or a zip of several, which counts as a folder.

Unpacked bytes are counted while they are unpacked, here and nowhere else: a few bytes can unpack to more than memory.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from mmap import ACCESS_READ, MADV_DONTNEED, mmap
from pathlib import Path
from typing import IO

from crm_models.core.errors import CrmError, DataError
from crm_models.data.sources.frames import tidy
from crm_models.data.sources.workbook import CONTENT_TYPES, is_workbook

Raw = bytes | mmap
"""The bytes of a file: in memory, or mapped from the disk."""
MAPPED = 1 << 26
"""From so many bytes on, a file is mapped."""

MAX_UNPACKED = 20_000_000_000
"""Most bytes that one source may unpack to, all layers together; the app sets a lower limit."""
MAX_RATIO = 300
"""Most bytes that one packed byte may become, from `FREE_BYTES` on: tables shrink to a twentieth, archives made to do
harm to a thousandth."""
FREE_BYTES = 10_000_000
LAYERS = 3

_ADDRESS = re.compile(r"(s3|gs|gcs|abfs|abfss|hdfs|file):/+(.+)")
"""An address of files elsewhere; `Path` leaves one of its two slashes."""

_SPREADSHEET = b"\xd0\xcf\x11\xe0"
_PART = 1 << 20
_DAMAGED = (zipfile.BadZipFile, EOFError, OSError, zlib.error, RuntimeError, NotImplementedError)
"""What reading an archive raises; the last two for one with a password, or a compression that zipfile does not know."""


def read_bytes(file: Path) -> bytes:
    """The content of a file, unpacked if it is gzip or a zip of one file; else `DataError`."""
    with open_bytes(file) as raw:
        return bytes(unpack(raw, Path(file).name))


@contextmanager
def open_bytes(file: Path) -> Iterator[Raw]:
    """The bytes of a file as they are; a large file is mapped, so that it need not fit into memory beside its table."""
    try:
        with open(file, "rb") as handle:
            large = os.fstat(handle.fileno()).st_size >= MAPPED
            raw: Raw = mmap(handle.fileno(), 0, access=ACCESS_READ) if large else handle.read()
    except FileNotFoundError:
        raise DataError(f"{file}: expected a file, found none") from None
    except IsADirectoryError:
        raise DataError(f"{file}: expected a file, found a folder") from None
    try:
        yield raw
    finally:
        if isinstance(raw, mmap):
            with suppress(BufferError):  # views of it are still held where an error is on its way out
                raw.close()


class Blocks(io.RawIOBase):
    """A view of a mapped file as a stream whose pages leave memory as soon as they are read."""

    def __init__(self, view: memoryview) -> None:
        self.view, self.position = view, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        end = len(self.view) if size < 0 else self.position + size
        part = bytes(self.view[self.position : end])
        self.position += len(part)
        forget(self.view.obj)
        return part


def forget(raw: object) -> None:
    """Drop the pages of a mapped file, which count as memory in use; they are read again where needed."""
    if isinstance(raw, mmap) and hasattr(raw, "madvise"):
        raw.madvise(MADV_DONTNEED)


def unpack(raw: Raw, name: str, limit: int = MAX_UNPACKED) -> Raw:
    """The unpacked bytes of gzip or a zip archive of one file; other bytes unchanged.

    A workbook (.xlsx) is a zip too, but is returned unchanged. limit: most bytes over all layers. `DataError` for a
    damaged or encrypted archive, one with several files, one that unpacks to more than the limit or than tables do,
    and the older spreadsheet format (.xls).
    """
    budget = _Budget(name, len(raw), limit)
    try:
        for _ in range(LAYERS):  # a zip of a gzip occurs; the limit stops archives that contain themselves
            if raw[:4] == _SPREADSHEET:
                raise DataError(f"{name}: expected CSV, Parquet or .xlsx, found an older spreadsheet; save it as CSV")
            if not _is_packed(raw) or is_workbook(raw):
                break
            [raw] = _layer(raw, budget, only_one=True)
        return raw
    except _DAMAGED as error:
        raise _damaged(name, error) from None


def refuse_large(raw: bytes, name: str, limit: int) -> None:
    """`DataError` if the bytes unpack to more than `limit`, all files and layers of an archive together."""
    budget, layer = _Budget(name, len(raw), limit), [raw]
    with suppress(*_DAMAGED):  # reading it says so
        for _ in range(LAYERS):
            layer = [inner for content in layer if _is_packed(content) for inner in _layer(content, budget)]


def _is_packed(raw: Raw) -> bool:
    return raw[:2] == b"\x1f\x8b" or raw[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def _layer(raw: Raw, budget: _Budget, *, only_one: bool = False) -> list[bytes]:
    """The files in a packed one. `DataError` if they are not one but should be."""
    if raw[:2] == b"\x1f\x8b":
        with gzip.open(io.BytesIO(raw)) as packed:
            return [budget.read(packed)]
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = _members(archive)
        if only_one and len(names) != 1:
            raise DataError(f"{budget.name}: expected one file in the archive, found {len(names)}; unpack it first")
        return [budget.read(archive.open(name)) for name in names]


class _Budget:
    """Counts unpacked bytes and stops at the limit."""

    def __init__(self, name: str, packed: int, limit: int) -> None:
        self.name, self.packed, self.limit, self.used = name, packed, limit, 0

    def read(self, file: IO[bytes] | gzip.GzipFile) -> bytes:
        """The rest of an open packed file."""
        return b"".join(self.parts(file))

    def parts(self, file: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
        """The rest of an open packed file, a megabyte at a time."""
        while part := file.read(_PART):
            self.used += len(part)
            if self.used > self.limit:
                raise DataError(
                    f"{self.name}: expected at most {self.limit / 1e6:,.0f} MB when unpacked, found more; "
                    "unpack it and import a part of it"
                )
            if self.used > max(FREE_BYTES, MAX_RATIO * self.packed):
                raise DataError(
                    f"{self.name}: expected a packed table, found {self.packed:,} bytes that unpack to more than "
                    f"{self.used / 1e6:,.0f} MB; unpack it yourself if you trust it"
                )
            yield part


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [n for n in archive.namelist() if not n.endswith(("/", ".DS_Store")) and not n.startswith("__MACOSX/")]


def _damaged(name: str, error: Exception) -> DataError:
    return DataError(f"{name}: expected a packed file, found a damaged or encrypted one ({tidy(error)})")


@contextmanager
def unpacked(sources: Sequence[Path], limit: int = MAX_UNPACKED) -> Iterator[list[Path]]:
    """The sources, with every zip of several files replaced by a temporary folder of its files.

    Sources elsewhere (s3://bucket/folder, gs://...) are copied there first.
    """
    with tempfile.TemporaryDirectory(prefix="crm-import-") as temporary:
        here = [_fetched(Path(source), Path(temporary) / f"remote{k}") for k, source in enumerate(sources)]
        folders = [_folder_of(source, Path(temporary) / str(k) / source.stem, limit) for k, source in enumerate(here)]
        try:
            yield folders
        except CrmError as error:  # a message names what the user has given
            shown = str(error)
            for folder, source in zip(folders, sources, strict=True):
                shown = shown.replace(str(folder), source.name) if temporary in str(folder) else shown
            error.args = (shown,)
            raise


def _fetched(source: Path, folder: Path) -> Path:
    """The local copy of a source that is an address; other sources as they are."""
    address = _ADDRESS.match(str(source))
    if not address:
        return source
    from pyarrow import ArrowException, fs

    uri = f"{address.group(1)}://{'/' if address.group(1) == 'file' else ''}{address.group(2)}"
    try:
        store, path = fs.FileSystem.from_uri(uri)
        is_folder = store.get_file_info(path).type == fs.FileType.Directory
        target = folder / Path(path).name
        target.mkdir(parents=True) if is_folder else folder.mkdir(parents=True)
        fs.copy_files(path, str(target), source_filesystem=store)
    except (OSError, ArrowException, ValueError) as error:
        raise DataError(f"{uri}: expected files that can be read there, found none ({tidy(error)})") from None
    return target


def _folder_of(source: Path, folder: Path, limit: int) -> Path:
    if source.suffix.lower() != ".zip" or not source.is_file():
        return source
    budget = _Budget(source.name, source.stat().st_size, limit)
    try:
        with zipfile.ZipFile(source) as archive:
            names = _members(archive)
            if not names or CONTENT_TYPES in names:
                return source
            written = [_extracted(archive, name, folder, budget) for name in names]
            if len(written) == 1:
                # Many formats are recognised by file name, so the name of the file in the archive is kept.
                return written[0]
            while len(inside := list(folder.iterdir())) == 1 and inside[0].is_dir():
                folder = inside[0]
            if all(entry.is_dir() for entry in folder.iterdir()) and not any(folder.rglob("*.parquet")):
                _flatten(folder)
            return folder
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, NotImplementedError) as error:
        raise _damaged(source.name, error) from None


def _flatten(folder: Path) -> None:
    """Move the files in folders of a folder into it, their folders before their names where two are called alike."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    names = [file.name for file in files]
    for file in files:
        parts = file.relative_to(folder).parts
        file.rename(folder / (file.name if names.count(file.name) == 1 else " ".join(parts)))
    for left in [entry for entry in folder.iterdir() if entry.is_dir()]:
        shutil.rmtree(left)


def _extracted(archive: zipfile.ZipFile, name: str, folder: Path, budget: _Budget) -> Path:
    """The file written for a member. Its name is made safe: no part leads out of the folder, no part is hidden."""
    parts = [part.lstrip(".") or "file" for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    target = folder.joinpath(*(parts or ["file"]))
    while target.exists():  # two members of one name, which zip allows
        target = target.with_name(f"_{target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as member, open(target, "wb") as file:
        for part in budget.parts(member):
            file.write(part)
    return target
