"""Compares what must be in the vector store with what is: pure functions, no I/O."""

from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from uuid import UUID, uuid5

import numpy as np

from app.db.verification import ManifestRow
from app.domain.points import PointId, StoredPoints
from app.pipeline.vector_check import CHECK, are_units, check_vectors
from app.pipeline.write import payload_of

USUAL_OCCURRENCES = 4
"""How often a text may come in its document before somebody has to count."""


class Fault(StrEnum):
    """How a point disagrees with the manifest."""

    MISSING = "missing"
    EXTRA = "extra"
    TEXT = "text"
    PAYLOAD = "payload"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A point that looks wrong.

    Attributes:
        document_id: whose it is, or says it is, if it says so.
        by_model: whether only embedding its text again has shown it.
    """

    id: PointId
    document_id: UUID | None
    fault: Fault
    by_model: bool = False


def owns_text(point: UUID, document: UUID, text_hash: bytes, *, occurrences: int = USUAL_OCCURRENCES) -> bool:
    """Whether a chunk's id is that of its text, as it is stored now, at one of the first ``occurrences`` places."""
    name = text_hash.hex()
    usual = range(min(occurrences, USUAL_OCCURRENCES))
    if any(uuid5(document, f"{name}:{number}") == point for number in usual):
        return True
    return occurrences > USUAL_OCCURRENCES and point in _ids_of(document, name, occurrences)


@lru_cache(maxsize=2)
def _ids_of(document: UUID, name: str, occurrences: int) -> frozenset[UUID]:
    """Ids of a text that comes as often in its document: made once, for its chunks are looked at together."""
    return frozenset(uuid5(document, f"{name}:{number}") for number in range(occurrences))


def compare(
    rows: Sequence[ManifestRow], points: StoredPoints, *, occurrences: Mapping[UUID, int] | None = None
) -> list[Suspect]:
    """What disagrees between a part of the manifest and the same part of the store.

    Args:
        rows: in any order.
        points: in any order.
        occurrences: how many chunks each document has, where that is known; no text can come more often.
    """
    expected = {row.id: row for row in rows}
    counts = occurrences or {}
    suspects: list[Suspect] = []
    present: list[int] = []
    for number, point in enumerate(points.ids):
        row = expected.pop(point, None) if isinstance(point, UUID) else None
        if row is None:
            owner = _read_uuid(points.payloads[number].get("document_id"))
            suspects.append(Suspect(id=point, document_id=owner, fault=Fault.EXTRA))
        elif not _owns_text(row, counts):
            suspects.append(Suspect(id=row.id, document_id=row.document_id, fault=Fault.TEXT))
        elif not _belongs(points.payloads[number], row):
            suspects.append(Suspect(id=row.id, document_id=row.document_id, fault=Fault.PAYLOAD))
        else:
            present.append(number)
    by_id = {row.id: row for row in rows}
    for number in _find_bad_vectors(points, present):
        row = by_id[_uuid(points.ids[number])]
        suspects.append(Suspect(id=row.id, document_id=row.document_id, fault=Fault.VECTOR))
    missing = [Suspect(id=row.id, document_id=row.document_id, fault=Fault.MISSING) for row in expected.values()]
    return suspects + missing


def _owns_text(row: ManifestRow, counts: Mapping[UUID, int]) -> bool:
    most = counts.get(row.document_id, USUAL_OCCURRENCES)
    return owns_text(row.id, row.document_id, row.text_hash, occurrences=most)


def _uuid(point: PointId) -> UUID:
    if isinstance(point, int):
        raise TypeError("points of the manifest have UUIDs")
    return point


def _read_uuid(value: object) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None


def _belongs(payload: Mapping[str, object], row: ManifestRow) -> bool:
    """Whether filters see of a point what its document is."""
    wanted = payload_of(row.document_id, row.source_id, row.path, others=row.others)
    return all(payload.get(key) == value for key, value in wanted.items())


def _find_bad_vectors(points: StoredPoints, present: Sequence[int]) -> list[int]:
    """Which of these points have a vector that is none, or that their check was not taken of."""
    if not present:
        return []
    vectors = points.vectors[present]
    ids = [_uuid(points.ids[number]) for number in present]
    good = are_units(vectors) & check_vectors(ids, vectors, [points.payloads[number].get(CHECK) for number in present])
    return [number for number, passed in zip(present, good, strict=True) if not passed]


def _place(point: PointId) -> tuple[bool, int]:
    """Numbers come before UUIDs, as stores order them."""
    return (False, point) if isinstance(point, int) else (True, point.int)


async def pair_pages(
    rows: AsyncIterator[list[ManifestRow]], points: AsyncIterator[StoredPoints]
) -> AsyncIterator[tuple[list[ManifestRow], StoredPoints]]:
    """Two streams in the order of ids, cut so that what belongs together comes together.

    Holds one page of each. Pages must not be empty.
    """
    left: list[ManifestRow] | None = await anext(rows, None)
    right: StoredPoints | None = await anext(points, None)
    while left is not None and right is not None:
        end = min(_place(left[-1].id), _place(right.ids[-1]))
        rows_end = bisect_right(left, end, key=lambda row: _place(row.id))
        points_end = bisect_right(right.ids, end, key=_place)
        yield left[:rows_end], right.part(slice(points_end))
        left = left[rows_end:] or await anext(rows, None)
        right = right.part(slice(points_end, None)) if points_end < len(right) else await anext(points, None)
    while left is not None:
        yield left, _NOTHING
        left = await anext(rows, None)
    while right is not None:
        yield [], right
        right = await anext(points, None)


_NOTHING = StoredPoints(ids=(), vectors=np.empty((0, 1), dtype=np.float32), payloads=())
