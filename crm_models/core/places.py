"""Files and folders here or on object storage: an address such as s3://bucket/folder is used like a path."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from crm_models.core.errors import DataError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_ADDRESS = re.compile(r"([a-z][a-z0-9+]+):/+([^?]+)\??(.*)", re.DOTALL)  # a path that came as a `Path` has one slash


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file or folder on object storage, with the part of the interface of `pathlib.Path` that is used here.

    path: bucket and key. options: of the address, such as `region=eu-central-1`; they may hold keys, so messages leave
    them out.
    """

    scheme: str
    path: str
    options: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    def __truediv__(self, name: str) -> Remote:
        return replace(self, path=f"{self.path}/{name}")

    @property
    def name(self) -> str:
        """Last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.path).stem

    @property
    def parent(self) -> Remote:
        """The folder that it lies in."""
        return replace(self, path=str(PurePosixPath(self.path).parent))

    def with_name(self, name: str) -> Remote:
        """Another file of the same folder."""
        return self.parent / name

    def exists(self) -> bool:
        """Whether there is a file or a folder."""
        return self._kind() != "NotFound"

    def is_dir(self) -> bool:
        """Whether it is a folder: on object storage, whether files lie below it."""
        return self._kind() == "Directory"

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self._kind() == "File"

    def open(self, mode: str = "rb") -> Any:
        """The file, open for reading bytes from any position. `FileNotFoundError` if there is none."""
        assert mode == "rb", "object storage writes files whole: see `replaced`"
        return self._store.open_input_file(self.path)

    def read_bytes(self) -> bytes:
        """Content of the file."""
        with self.open() as handle:
            return bytes(handle.read())

    def copy_to(self, target: Path) -> None:
        """Copy a file, or all files below a folder, to this machine."""
        from pyarrow import fs

        with self._errors():
            fs.copy_files(self.path, str(target), source_filesystem=self._store)

    @contextmanager
    def part(self) -> Iterator[Path]:
        """A temporary path on this machine, for what `put` makes the content of the file."""
        with tempfile.TemporaryDirectory(prefix="crm-copy-") as temporary:
            part = Path(temporary) / self.name
            part.touch()
            yield part

    def put(self, part: Path) -> None:
        """Replace the file. Object storage shows a file once its last byte has arrived, not before."""
        from pyarrow import fs

        with self._errors():
            fs.copy_files(str(part), self.path, destination_filesystem=self._store)

    def unlink(self) -> None:
        """Remove the file."""
        self._store.delete_file(self.path)

    def remove(self) -> None:
        """Remove the folder, if there is one, with all files in it."""
        if self.is_dir():
            self._store.delete_dir(self.path)

    @property
    def _store(self) -> FileSystem:
        return _filesystem(self.scheme, self.path.partition("/")[0], self.options)

    def _kind(self) -> str:
        with self._errors():
            return str(self._store.get_file_info(self.path).type.name)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of the storage as a `DataError` that names the address."""
        try:
            yield
        except OSError as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{self}: expected storage that can be reached, found none ({reason})") from None


Place = Path | Remote
"""A file or folder, wherever it is."""


@lru_cache(maxsize=8)
def _filesystem(scheme: str, bucket: str, options: str) -> FileSystem:
    from pyarrow import ArrowException, fs

    try:
        return fs.FileSystem.from_uri(f"{scheme}://{bucket}" + (f"?{options}" if options else ""))[0]
    except (OSError, ArrowException, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"{scheme}://{bucket}: expected an address such as s3://bucket/folder, found another ({reason})"
        ) from None


def place(text: str | Place) -> Place:
    """The file or folder that a path or an address names.

    >>> place("workspace/plans.csv").name, str(place("s3://bucket/plans.csv").parent), place("file:///tmp/plans.csv")
    ('plans.csv', 's3://bucket', PosixPath('/tmp/plans.csv'))
    """
    address = None if isinstance(text, Remote) else _ADDRESS.fullmatch(str(text))
    if address is None:
        return text if isinstance(text, Remote) else Path(text)
    scheme, path, options = address.groups()
    return Path(f"/{path}") if scheme == "file" else Remote(scheme=scheme, path=path.rstrip("/"), options=options)


def address_of(where: Place) -> str:
    """The text from which `place` makes the same place again, in another process or on another machine."""
    if isinstance(where, Path):
        return str(where.resolve())
    return str(where) + (f"?{where.options}" if where.options else "")


@contextmanager
def here(folder: Place) -> Iterator[Path]:
    """The folder on this machine: itself, or a temporary copy of the same name."""
    if isinstance(folder, Path):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="crm-copy-") as temporary:
        copy = Path(temporary) / folder.name
        copy.mkdir()
        folder.copy_to(copy)
        yield copy
