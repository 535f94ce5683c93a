"""Points of a generation are brought into files, whatever becomes of the generation."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest

from app.domain.collections import Generation, GenerationState
from app.domain.documents import Chunking
from app.domain.errors import GenerationMissingError
from app.domain.points import PointId, StoredPoints
from app.domain.projections import ProjectionGenerationDroppedError
from app.jobs.classify import classify
from app.pipeline.projection.fetch import fetch_points

WIDTH = 4


class FakeStore:
    """Pages of points, and what comes after the last of them."""

    def __init__(self, pages: Sequence[StoredPoints], *, then: Exception | None = None, counted: int = 0) -> None:
        self._pages = pages
        self._then = then
        self._counted = counted

    async def count(self, name: str, restrict: object = None) -> int:  # noqa: ARG002 — as the port has it
        """How many there were when somebody asked."""
        return self._counted

    async def stream_points(self, name: str, *, dimension: int, page: int) -> AsyncIterator[StoredPoints]:  # noqa: ARG002 — see above
        """One page after the other."""
        for points in self._pages:
            yield points
        if self._then is not None:
            raise self._then


class FakeReporter:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    async def send_update(self, type: str, data: dict[str, Any]) -> None:  # noqa: A002 — the envelope's own word
        """One more."""
        assert type == "projection_fetch_progress"
        self.told.append(data)


def make_generation() -> Generation:
    """One that serves."""
    return Generation(
        id=uuid4(),
        collection_id=uuid4(),
        name="vecloom_a_b_c",
        state=GenerationState.ACTIVE,
        model="wordllama",
        dimension=WIDTH,
        fingerprint="f",
        canaries=b"",
        chunking=Chunking(size=400, overlap=40),
    )


def make_page(ids: Sequence[PointId], vectors: Sequence[Sequence[float]], document: UUID) -> StoredPoints:
    """Points of one document."""
    payloads = [{"document_id": str(document)} for _ in ids]
    return StoredPoints(ids=ids, vectors=np.array(vectors, dtype=np.float32).reshape(-1, WIDTH), payloads=payloads)


async def test_every_point_of_ours_is_fetched(tmp_path: Path) -> None:
    """Also those that were added meanwhile, and those without a vector; points with numbers are somebody else's."""
    ids, document = [uuid4(), uuid4(), uuid4()], uuid4()
    first = make_page([ids[0], 7, ids[1]], [[2, 0, 0, 0], [1, 1, 1, 1], [np.nan] * 4], document)
    second = make_page([ids[2]], [[0, 0, 3, 4]], document)
    report = FakeReporter()

    fetched = await fetch_points(FakeStore([first, second], counted=1), make_generation(), tmp_path, report)  # type: ignore[arg-type]

    vectors = np.load(tmp_path / "vectors.npy")
    assert (fetched.points, fetched.invalid) == (3, 1)
    assert np.allclose(vectors[[0, 2]], np.array([(1, 0, 0, 0), (0, 0, 0.6, 0.8)]))
    assert np.isnan(vectors[1]).all()
    assert (tmp_path / "ids.bin").read_bytes() == b"".join(one.bytes for one in ids)
    assert (tmp_path / "documents.bin").read_bytes() == document.bytes * 3
    assert report.told[-1] == {"fetched": 3, "total": 3}


async def test_a_generation_that_is_dropped_meanwhile_is_told(tmp_path: Path) -> None:
    """With a code of its own, which says what to do."""
    page = make_page([uuid4()], [[1, 0, 0, 0]], uuid4())
    store = FakeStore([page], then=GenerationMissingError("vecloom_a_b_c"))

    with pytest.raises(ProjectionGenerationDroppedError, match="ops retry"):
        await fetch_points(store, make_generation(), tmp_path, FakeReporter())  # type: ignore[arg-type]


async def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    """As everywhere, so that it is tried again."""
    (tmp_path / ".vectors.npy.part").symlink_to("/dev/full")
    page = make_page([uuid4()], [[1, 0, 0, 0]], uuid4())

    with pytest.raises(OSError, match="No space left") as raised:
        await fetch_points(FakeStore([page]), make_generation(), tmp_path, FakeReporter())  # type: ignore[arg-type]

    assert classify(raised.value).code == "disk_full"
