"""Places that documents can be read from in tests, all handled the same way."""

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.domain.ports import DocumentSource
from app.pipeline.records import is_record_file, scan_records
from app.processes.pool import ProcessPool
from app.sources.directory import DirectorySource, RecordReader

MOST_BYTES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a source is opened with."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    max_bytes: int = MOST_BYTES


class Place(ABC):
    """Documents by path, and what may happen to them."""

    @abstractmethod
    def open(self, choice: Choice) -> DocumentSource:
        """The adapter over this place, as it would be opened for an operation."""

    @abstractmethod
    def write(self, path: str, content: bytes) -> None:
        """Put a document there; another content is another version."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Take a document away."""

    @abstractmethod
    def deny(self, path: str) -> None:
        """Make a document that can be seen and not read."""

    @abstractmethod
    def add_part(self, content: bytes) -> None:
        """Put a document where it is found only by looking into something, as a folder."""

    @abstractmethod
    def hide_part(self) -> None:
        """Have nobody look into that any more."""

    @abstractmethod
    def vanish(self) -> None:
        """Take everything away."""


class DirectoryPlace(Place):
    """A folder."""

    def __init__(self, root: Path, pool: ProcessPool) -> None:
        self._root = root
        self._pool = pool

    def open(self, choice: Choice) -> DocumentSource:
        """See the base."""
        return DirectorySource(
            self._root,
            include=choice.include,
            exclude=choice.exclude,
            max_bytes=choice.max_bytes,
            processes=self._pool,
            records=RecordReader(is_record_file=is_record_file, scan_records=scan_records),
        )

    def write(self, path: str, content: bytes) -> None:
        """See the base."""
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def remove(self, path: str) -> None:
        """See the base."""
        (self._root / path).unlink()

    def deny(self, path: str) -> None:
        """A link to nothing: also root may not read that."""
        (self._root / path).symlink_to("nothing")

    def add_part(self, content: bytes) -> None:
        """An archive: folders hide nothing from root."""
        with zipfile.ZipFile(self._root / "part.zip", "w") as archive:
            archive.writestr("inner.txt", content)

    def hide_part(self) -> None:
        """A damaged one."""
        (self._root / "part.zip").write_bytes(b"PK\x03\x04 damaged")

    def vanish(self) -> None:
        """See the base."""
        self._root.rename(self._root.with_name("elsewhere"))
