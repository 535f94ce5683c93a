"""Comparing a manifest with a store: every disagreement is seen, and nothing else."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.db.documents import ChunkRow
from app.db.verification import DocumentMark, ManifestRow
from app.domain.documents import DocumentState
from app.domain.identity import chunk_ids, text_hash
from app.domain.points import PointId, StoredPoints, Vectors
from app.domain.sparse_settings import SparseSettings
from app.pipeline.compare import USUAL_OCCURRENCES, Fault, Suspect, compare, pair_pages
from app.pipeline.findings import MOST_LISTED, Findings
from app.pipeline.vector_check import CHECK, check_vectors, take_checks
from app.pipeline.verify import Sample
from app.pipeline.write import make_points, payload_of

DIMENSION = 64
DOCUMENT, SOURCE = uuid4(), uuid4()
PATH = "guides/sea/whales.md"

Item = TypeVar("Item")


def make_rows(texts: Sequence[str]) -> list[ManifestRow]:
    """Rows of one document with these texts."""
    return [
        ManifestRow(
            id=point,
            document_id=DOCUMENT,
            text_hash=text_hash(content),
            bytes=len(content),
            source_id=SOURCE,
            path=PATH,
        )
        for point, content in zip(chunk_ids(DOCUMENT, texts), texts, strict=True)
    ]


def make_vectors(count: int, *, seed: int = 1) -> Vectors:
    """Unit vectors."""
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def store(rows: Sequence[ManifestRow], vectors: Vectors | None = None) -> StoredPoints:
    """Points as the ingestion writes them."""
    chunks = [
        ChunkRow(id=row.id, document_id=row.document_id, ordinal=0, start=0, end=0, tokens=0, text="") for row in rows
    ]
    payload = payload_of(DOCUMENT, SOURCE, PATH)
    batch = make_points(
        chunks, make_vectors(len(rows)) if vectors is None else vectors, [payload] * len(rows), sparse=SparseSettings()
    )
    return StoredPoints(ids=batch.ids, vectors=batch.vectors, payloads=batch.payloads)


def make_mark(*, state: str = "completed", dirty: bool = False) -> DocumentMark:
    """A document that says it has three chunks, and has two."""
    now = datetime.now(UTC)
    return DocumentMark(
        id=DOCUMENT, uri="file:///a", state=DocumentState(state), dirty=dirty, updated_at=now, chunk_count=3, rows=2
    )


def faults(suspects: Sequence[Suspect]) -> dict[PointId, Fault]:
    """Fault by point; each point may be suspected once."""
    found = {suspect.id: suspect.fault for suspect in suspects}
    assert len(found) == len(suspects)
    return found


def test_what_agrees_is_not_suspected() -> None:
    """Rows and the points that were made of them, in any order."""
    rows = make_rows([f"text {number}" for number in range(20)])

    assert compare(rows[::-1], store(rows)) == []


@settings(max_examples=60, deadline=None)
@given(data=st.data(), count=st.integers(1, 12))
def test_any_mixture_of_damage_is_told_apart(data: st.DataObject, count: int) -> None:
    """Each point has its own fault, whatever happened to the others."""
    kinds = data.draw(st.lists(st.sampled_from([None, *Fault]), min_size=count, max_size=count))
    rows = make_rows([f"text {number}" for number in range(count)])
    points = store(rows)
    vectors, payloads = points.vectors.copy(), [dict(payload) for payload in points.payloads]
    manifest: list[ManifestRow] = []
    kept: list[int] = []
    for number, kind in enumerate(kinds):
        row = rows[number]
        if kind is Fault.TEXT:
            row = ManifestRow(
                id=row.id, document_id=DOCUMENT, text_hash=text_hash("other"), bytes=5, source_id=SOURCE, path=PATH
            )
        if kind is Fault.VECTOR:
            vectors[number] = -vectors[number]
        if kind is Fault.PAYLOAD:
            payloads[number]["source_id"] = str(uuid4())
        if kind is not Fault.EXTRA:
            manifest.append(row)
        if kind is not Fault.MISSING:
            kept.append(number)
    stored = StoredPoints(
        ids=[rows[number].id for number in kept],
        vectors=vectors[kept],
        payloads=[payloads[number] for number in kept],
    )

    found = faults(compare(manifest, stored))

    assert found == {row.id: kind for row, kind in zip(rows, kinds, strict=True) if kind is not None}


@pytest.mark.parametrize(
    "vector",
    [np.zeros(DIMENSION), np.full(DIMENSION, np.nan), np.full(DIMENSION, np.inf), np.full(DIMENSION, 1e30)],
    ids=["zero", "nan", "infinite", "huge"],
)
def test_a_vector_that_is_none_is_wrong_without_any_check(vector: Vectors) -> None:
    """Also of a point that an older version has written."""
    rows = make_rows(["whales", "rockets"])
    points = store(rows)
    for payload in points.payloads:
        payload.pop(CHECK)
    points.vectors[1] = vector

    assert faults(compare(rows, points)) == {rows[1].id: Fault.VECTOR}


def test_points_of_nobody_say_whose_they_are() -> None:
    """An extra point names the document of its payload, if that is one."""
    points = StoredPoints(
        ids=[7, uuid4(), uuid4()],
        vectors=make_vectors(3),
        payloads=[{"document_id": str(DOCUMENT)}, {"document_id": "nobody"}, {}],
    )

    suspects = compare([], points)

    assert [suspect.document_id for suspect in suspects] == [DOCUMENT, None, None]
    assert {suspect.fault for suspect in suspects} == {Fault.EXTRA}


def test_a_text_may_come_as_often_as_its_document_has_chunks() -> None:
    """Beyond a few times only when somebody has counted, and then not one more."""
    many = USUAL_OCCURRENCES + 8
    rows = make_rows(["the same line"] * (many + 1))
    points = store(rows)

    unknown = faults(compare(rows, points))
    counted = faults(compare(rows, points, occurrences={DOCUMENT: many}))

    assert set(unknown) == {row.id for row in rows[USUAL_OCCURRENCES:]}
    assert counted == {rows[-1].id: Fault.TEXT}


# --- the check of a vector ----------------------------------------------------------------------


def test_a_check_survives_less_precision_and_other_lengths() -> None:
    """Stores that normalise, or keep half of each number's bits, are not suspected."""
    ids, vectors = [uuid4() for _ in range(500)], make_vectors(500)
    checks = take_checks(ids, vectors)

    half = vectors.astype(np.float16).astype(np.float32)

    assert check_vectors(ids, half, checks).all()
    assert check_vectors(ids, vectors * 3, checks).all()


def test_a_check_belongs_to_one_point_and_one_vector() -> None:
    """Another vector fails it, and so does the same vector under another id; even one that is much alike."""
    ids, vectors = [uuid4() for _ in range(500)], make_vectors(500)
    checks = take_checks(ids, vectors)
    alike = vectors + 0.1 * make_vectors(500, seed=2)

    assert not check_vectors(ids, vectors[::-1], checks).any()
    assert not check_vectors(ids[::-1], vectors, checks).any()
    assert not check_vectors(ids, np.asarray(alike, dtype=np.float32), checks).any()


@pytest.mark.parametrize("check", [[], [1, 2, 3], [1, 2, 3, -4], [1, 2, 3, 2**40], ["a"] * 4, "abcd", 7])
def test_what_is_no_check_passes_nothing(check: object) -> None:
    """A damaged check makes its point wrong; a missing one does not."""
    ids, vectors = [uuid4(), uuid4()], make_vectors(2)

    assert check_vectors(ids, vectors, [check, None]).tolist() == [False, True]


# --- two streams --------------------------------------------------------------------------------


async def in_pages(items: Sequence[Item], sizes: Sequence[int]) -> AsyncIterator[Sequence[Item]]:
    """Items in pages of these sizes, over and over."""
    start, turn = 0, 0
    while start < len(items):
        size = sizes[turn % len(sizes)]
        yield items[start : start + size]
        start, turn = start + size, turn + 1


async def pair(
    left: Sequence[ManifestRow], right: StoredPoints, sizes: Sequence[int]
) -> list[tuple[list[UUID], list[PointId]]]:
    """The ids of both sides, as they are paired."""

    async def rows() -> AsyncIterator[list[ManifestRow]]:
        async for page in in_pages(left, sizes):
            yield list(page)

    async def points() -> AsyncIterator[StoredPoints]:
        async for page in in_pages(range(len(right)), sizes[::-1]):
            yield right.part(slice(page[0], page[-1] + 1))

    return [([row.id for row in some], list(stored.ids)) async for some, stored in pair_pages(rows(), points())]


@settings(max_examples=100, deadline=None)
@given(
    present=st.lists(st.sampled_from(["both", "manifest", "store"]), max_size=40),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    numbers=st.integers(0, 3),
)
async def test_what_belongs_together_comes_together(present: list[str], sizes: list[int], numbers: int) -> None:
    """However the pages are cut, each id comes once a side, and never in two pairs."""
    rows = sorted(make_rows([f"text {number}" for number in range(len(present))]), key=lambda row: row.id)
    left = [row for row, where in zip(rows, present, strict=True) if where != "store"]
    foreign: list[PointId] = list(range(numbers))
    ids = foreign + [row.id for row, where in zip(rows, present, strict=True) if where != "manifest"]
    right = StoredPoints(ids=ids, vectors=np.zeros((len(ids), 4), dtype=np.float32), payloads=[{}] * len(ids))

    pairs = await pair(left, right, sizes)

    assert [point for some, _ in pairs for point in some] == [row.id for row in left]
    assert [point for _, some in pairs for point in some] == ids
    where_rows = {point: place for place, (some, _) in enumerate(pairs) for point in some}
    where_points = {point: place for place, (_, some) in enumerate(pairs) for point in some}
    assert all(where_points[point] == place for point, place in where_rows.items() if point in where_points)


# --- what is kept -------------------------------------------------------------------------------


def test_a_sample_is_drawn_from_the_whole_stream() -> None:
    """Late points are as likely as early ones, each comes with its vector, and no more are kept than asked for."""
    ids = [UUID(int=number) for number in range(5000)]
    vectors = np.repeat(np.arange(5000, dtype=np.float32)[:, None], 4, axis=1)
    sample = Sample(500)

    for start in range(0, 5000, 1000):
        sample.offer(ids[start : start + 1000], vectors[start : start + 1000])

    assert len(set(sample.ids)) == 500
    assert all(vector[0] == point.int for point, vector in zip(sample.ids, sample.vectors, strict=True))
    late = sum(point.int >= 4000 for point in sample.ids)
    assert 50 < late < 150  # 100 are expected; beyond these bounds once in ten million draws


def test_lists_are_bounded_and_counts_are_not() -> None:
    """The first of each kind are named, all are counted."""
    findings = Findings()

    for fault in Fault:
        findings.add([Suspect(id=number, document_id=None, fault=fault) for number in range(MOST_LISTED + 5)])
    result = findings.result()

    assert {name: len(result[name]) for name in ("missing", "extra", "wrong")} == dict.fromkeys(
        ("missing", "extra", "wrong"), MOST_LISTED
    )
    assert result["missing_count"] == result["extra_count"] == MOST_LISTED + 5
    assert result["wrong_count"] == 3 * (MOST_LISTED + 5)
    assert result["ok"] is False


def test_all_repaired_is_ok() -> None:
    """A result is ok when as much was repaired as was found."""
    findings = Findings(repaired=1)
    findings.add([Suspect(id=1, document_id=None, fault=Fault.EXTRA)])

    assert findings.summary()["ok"] is True
    findings.add([Suspect(id=2, document_id=None, fault=Fault.EXTRA)])
    assert findings.summary()["ok"] is False


def test_a_documents_larger_number_counts() -> None:
    """It bounds how often a text may come."""
    assert make_mark().most_chunks == 3
