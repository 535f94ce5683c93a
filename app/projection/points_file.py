"""Files of points as they are fetched: vectors, and the ids of points and documents, row by row."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 128
VECTORS, IDS, DOCUMENTS = "vectors.npy", "ids.bin", "documents.bin"
ID = np.dtype("S16")
"""An id as its 16 bytes. Numpy leaves out the last ones of a single value where they are zero, never of an array."""


def _header(rows: int, width: int) -> bytes:
    """Of a ``.npy`` file, as long whatever the numbers."""
    told = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
    magic = b"\x93NUMPY\x01\x00"
    room = HEADER_BYTES - len(magic) - 2
    return magic + room.to_bytes(2, "little") + told.ljust(room - 1).encode("ascii") + b"\n"


class PointsWriter:
    """Writes points page by page; how many there are nobody knows before the end.

    Attributes:
        rows: how many are written.
        invalid: how many of those have no vector, or one with values that are no numbers.
    """

    def __init__(self, folder: Path, *, width: int) -> None:
        self._width = width
        with ExitStack() as files:
            self._paths = [folder / name for name in (VECTORS, IDS, DOCUMENTS)]
            opened = [files.enter_context(_name_unfinished(path).open("wb")) for path in self._paths]
            self._vectors, self._ids, self._documents = opened
            # all are closed though one cannot be, as on a full disk
            self._files = files.pop_all()
        self._vectors.write(_header(0, width))
        self.rows = 0
        self.invalid = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def add(self, ids: Sequence[UUID], documents: Sequence[UUID], vectors: NDArray[np.float32]) -> None:
        """Some points; vectors become as long as 1, but for those that are 0 or no numbers."""
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        valid = np.isfinite(lengths[:, 0])
        scaled = vectors / np.where((lengths > 0) & np.isfinite(lengths), lengths, 1)
        self._vectors.write(np.ascontiguousarray(scaled, dtype="<f4").tobytes())
        self._ids.write(b"".join(one.bytes for one in ids))
        self._documents.write(b"".join(one.bytes for one in documents))
        self.rows += len(ids)
        self.invalid += int(np.count_nonzero(~valid))

    def finish(self) -> None:
        """Say how many there are; the files are whole then, and have their names: who reads them reads all."""
        self._vectors.seek(0)
        self._vectors.write(_header(self.rows, self._width))
        for file in (self._vectors, self._ids, self._documents):
            file.flush()
            os.fsync(file.fileno())
        for path in self._paths:
            _name_unfinished(path).rename(path)


def _name_unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def read_ids(path: Path) -> NDArray[Any]:
    """Ids of a file, in the order of rows."""
    # an empty file cannot be mapped
    return np.fromfile(path, dtype=ID) if path.stat().st_size < ID.itemsize else np.memmap(path, dtype=ID, mode="r")


def to_ids(ids: Sequence[UUID]) -> NDArray[Any]:
    """Ids as such a file has them."""
    return np.frombuffer(b"".join(one.bytes for one in ids), dtype=ID)


def to_uuids(ids: NDArray[Any]) -> list[UUID]:
    """The same the other way round."""
    content = np.ascontiguousarray(ids).tobytes()
    return [UUID(bytes=content[start : start + 16]) for start in range(0, len(content), 16)]


class RowIndex:
    """Finds rows of ids page after page; ids that are in order, as a store gives them, are looked at where they are."""

    def __init__(self, ids: NDArray[Any]) -> None:
        self._order = None if bool((ids[:-1] <= ids[1:]).all()) else np.argsort(ids, kind="stable")
        self._ids = ids if self._order is None else ids[self._order]

    def find(self, wanted: NDArray[Any]) -> NDArray[np.int64]:
        """See ``find_rows``, which takes as long for a page as for all."""
        if not len(self._ids) or not len(wanted):
            return np.full(len(wanted), -1, dtype=np.int64)
        places = np.minimum(np.searchsorted(self._ids, wanted), len(self._ids) - 1)
        rows = places if self._order is None else self._order[places]
        return np.where(self._ids[places] == wanted, rows, -1).astype(np.int64)


def find_rows(ids: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.int64]:
    """The row of each wanted id; -1 for those that there are not."""
    if not len(ids) or not len(wanted):
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(wanted, kind="stable")
    ordered = wanted[order]
    places = np.minimum(np.searchsorted(ordered, ids), len(ordered) - 1)
    rows = np.flatnonzero(ordered[places] == ids)
    found = np.full(len(wanted), -1, dtype=np.int64)
    # an id may be wanted twice
    first = np.searchsorted(ordered, ordered)
    by_place = np.full(len(wanted), -1, dtype=np.int64)
    by_place[places[rows]] = rows
    found[order] = by_place[first]
    return found
