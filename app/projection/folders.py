"""The folder that holds the files of projections. Which is whose only the rows know."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

OWN = re.compile(r"(?P<projection>[0-9a-f]{32})(\.(?P<attempt>[0-9a-f]{32}))?")
HEX = re.compile(r"[0-9a-f]{32}")
MARKER = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A folder of a projection; ``attempt`` is there if it was still being made. ``modified`` is a Unix time."""

    path: Path
    projection_id: UUID
    attempt: str | None
    modified: float


class ProjectionFolder:
    """``root/MARKER/COLLECTION/PROJECTION``, and ``….ATTEMPT`` beside it while it is made.

    Every method may wait for the disk: call it in a thread.

    Args:
        root: the folder; on several machines the same one, under whatever path.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def _collection(self, marker: str, collection_id: UUID) -> Path:
        if MARKER.fullmatch(marker) is None:
            raise ValueError(f"no marker: {marker!r}")
        return self._root / marker / collection_id.hex

    def path_of(self, marker: str, collection_id: UUID, projection_id: UUID, *, attempt: str | None = None) -> Path:
        """Where a projection's files lie, or those of an attempt to make it."""
        if attempt is not None and HEX.fullmatch(attempt) is None:
            raise ValueError(f"no attempt: {attempt!r}")
        name = projection_id.hex if attempt is None else f"{projection_id.hex}.{attempt}"
        return self._collection(marker, collection_id) / name

    def begin(self, marker: str, collection_id: UUID, projection_id: UUID, *, attempt: str) -> Path:
        """A fresh folder for an attempt; what earlier ones have left is removed, but not what one has published."""
        path = self.path_of(marker, collection_id, projection_id, attempt=attempt)
        path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        for old in path.parent.glob(f"{projection_id.hex}.*"):
            shutil.rmtree(old, ignore_errors=True)
        path.mkdir(mode=0o700)
        return path

    def publish(self, marker: str, collection_id: UUID, projection_id: UUID, *, attempt: str) -> Path:
        """The folder under its own name, which is there after a crash too; one that is there already gives way."""
        path = self.path_of(marker, collection_id, projection_id, attempt=attempt)
        for file in path.iterdir():
            _sync(file, os.O_RDONLY)
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)
        final = self.path_of(marker, collection_id, projection_id)
        remove_tree(final)
        path.rename(final)
        _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return final

    def remove(self, marker: str, collection_id: UUID, projection_id: UUID) -> None:
        """Nothing happens if they are gone."""
        folder = self._collection(marker, collection_id)
        for path in list(folder.glob(f"{projection_id.hex}*")):
            remove_tree(path)
        with suppress(OSError):
            folder.rmdir()

    def remove_collection(self, marker: str, collection_id: UUID) -> None:
        """All files of a collection."""
        remove_tree(self._collection(marker, collection_id))

    def list_all(self, marker: str) -> Iterator[Leftover]:
        """Every folder of one installation."""
        with suppress(FileNotFoundError):
            for collection in sorted((self._root / marker).iterdir()):
                for path in sorted(collection.iterdir()) if collection.is_dir() else ():
                    found = OWN.fullmatch(path.name)
                    if found is not None:
                        with suppress(FileNotFoundError):
                            yield Leftover(
                                path=path,
                                projection_id=UUID(hex=found["projection"]),
                                attempt=found["attempt"],
                                modified=path.stat().st_mtime,
                            )


def remove_tree(path: Path) -> None:
    """A folder with all that is in it; nothing happens if it is gone."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
