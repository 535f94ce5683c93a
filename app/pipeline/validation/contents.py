"""Compares all points of a generation with its manifest, in one pass in the order of their ids."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from app.db.verification import ManifestRepository, ManifestRow
from app.domain.points import PointId, StoredPoints
from app.evaluation.findings import Found, Shape
from app.pipeline.compare import pair_pages
from app.pipeline.validation.sample import IdSample
from app.pipeline.validation.sides import Validation
from app.pipeline.vector_check import CHECK, NORM_TOLERANCE, check_vectors
from app.pipeline.write import payload_of

ROWS_PER_PAGE = 2000
NUMBERS_PER_PAGE = 64 * 1024


@dataclass(slots=True, kw_only=True)
class Contents:
    """What one pass has found.

    Attributes:
        unbound: points whose vector is not the one that their check was taken of.
        sample: points as they must be, with their vectors.
        of_documents: how many points say that they are of a document, for those that are asked about.
    """

    shape: Shape
    sample: IdSample
    of_documents: dict[str, int]
    expected: int = 0
    missing: Found = field(default_factory=Found)
    extra: Found = field(default_factory=Found)
    payloads: Found = field(default_factory=Found)
    unbound: Found = field(default_factory=Found)


async def read_contents(validation: Validation, documents: Sequence[UUID], *, dimension: int, total: int) -> Contents:
    """Look at every point; ``dimension`` is what the store says its vectors have, ``documents`` are asked about."""
    sizes, generation = validation.sizes, validation.new.generation
    size = max(sizes.texts, sizes.words, sizes.neighbours)
    contents = Contents(
        shape=Shape(dimension, generation.dimension),
        sample=IdSample(size, seed=validation.seed, width=dimension),
        of_documents={str(document): 0 for document in documents},
    )
    page = max(1, NUMBERS_PER_PAGE // max(1, dimension))
    points = validation.store.stream_points(generation.name, dimension=dimension, page=page)
    async for rows, stored in pair_pages(_stream_rows(validation), points):
        async with validation.give_way():
            await asyncio.to_thread(add_page, contents, rows, stored)
        await validation.tell("contents", contents.expected, total)
    return contents


async def _stream_rows(validation: Validation) -> AsyncIterator[list[ManifestRow]]:
    after: UUID | None = None
    while True:
        async with validation.database.begin() as connection:
            manifest = ManifestRepository(
                connection, collection_id=validation.collection_id, generation_id=validation.new.generation.id
            )
            rows, after = await manifest.list_page(after=after, limit=ROWS_PER_PAGE)
        if rows:
            yield rows
        if after is None:
            return


def add_page(contents: Contents, rows: Sequence[ManifestRow], points: StoredPoints) -> None:
    """Compare one part of both."""
    expected: dict[PointId, ManifestRow] = {row.id: row for row in rows}
    contents.expected += len(expected)
    present: list[int] = []
    for number, point in enumerate(points.ids):
        owner = points.payloads[number].get("document_id")
        if isinstance(owner, str) and owner in contents.of_documents:
            contents.of_documents[owner] += 1
        row = expected.pop(point, None)
        if row is None:
            contents.extra.add(point)
            continue
        present.append(number)
        wanted = payload_of(row.document_id, row.source_id, row.path, others=row.others)
        if any(points.payloads[number].get(key) != value for key, value in wanted.items()):
            contents.payloads.add(point)
    for missed in expected:
        contents.missing.add(missed)
    if present:
        _add_vectors(contents, points, present)


def _add_vectors(contents: Contents, points: StoredPoints, present: Sequence[int]) -> None:
    ids = [point for number in present if isinstance(point := points.ids[number], UUID)]
    vectors = points.vectors[list(present)]
    with np.errstate(invalid="ignore", over="ignore"):
        norms = np.linalg.norm(vectors, axis=1)
    finite = np.isfinite(norms)
    empty = finite & (norms == 0)
    odd = finite & ~empty & (np.abs(norms - 1) > NORM_TOLERANCE)
    found = ((contents.shape.not_finite, ~finite), (contents.shape.zero, empty), (contents.shape.not_unit, odd))
    for kind, which in found:
        for number in np.flatnonzero(which):
            kind.add(ids[number])
    sound = finite & ~empty
    checks = [points.payloads[number].get(CHECK) for number in present]
    for number in np.flatnonzero(sound & ~check_vectors(ids, vectors, checks)):
        contents.unbound.add(ids[number])
    good = np.flatnonzero(sound & ~odd)
    contents.sample.offer([ids[number] for number in good], vectors[good])
