"""Brings the points of a generation into files."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np

from app.domain.collections import Generation
from app.domain.errors import GenerationMissingError
from app.domain.points import StoredPoints
from app.domain.ports import Reporter, VectorStore
from app.domain.projections import ProjectionGenerationDroppedError
from app.projection.points_file import PointsWriter

NUMBERS_PER_PAGE = 128 * 1024
"""Of vectors. Reading them from JSON keeps the interpreter's lock, so the event loop stands still for that long; and
larger pages take longer for each point too."""
MOST_PER_PAGE = 4000
TELL_SECONDS = 0.25
NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """How many points there are, and how many of them have no usable vector."""

    points: int
    invalid: int


async def fetch_points(store: VectorStore, generation: Generation, folder: Path, report: Reporter) -> Fetched:
    """Write every point of a generation; see ``PointsWriter``.

    Raises:
        ProjectionGenerationDroppedError: if it is not there any more.
    """
    width = generation.dimension
    page = max(1, min(MOST_PER_PAGE, NUMBERS_PER_PAGE // width))
    try:
        total = await store.count(generation.name)
        told = 0.0
        writer = await asyncio.to_thread(PointsWriter, folder, width=width)
        with writer:
            async for points in store.stream_points(generation.name, dimension=width, page=page):
                await asyncio.to_thread(_add, writer, points)
                if time.monotonic() - told > TELL_SECONDS:
                    told = time.monotonic()
                    await _tell(report, writer.rows, total)
            await asyncio.to_thread(writer.finish)
    except GenerationMissingError:
        raise ProjectionGenerationDroppedError(generation.name) from None
    await _tell(report, writer.rows, writer.rows)
    return Fetched(points=writer.rows, invalid=writer.invalid)


async def _tell(report: Reporter, fetched: int, total: int) -> None:
    # points may be added meanwhile
    await report.send_update("projection_fetch_progress", {"fetched": fetched, "total": max(fetched, total)})


def _add(writer: PointsWriter, points: StoredPoints) -> None:
    # ours are UUIDs; who wrote others into our collection has no document for them
    rows = [row for row, point in enumerate(points.ids) if isinstance(point, UUID)]
    ids = [point for point in points.ids if isinstance(point, UUID)]
    documents = [_document_of(points.payloads[row]) for row in rows]
    writer.add(ids, documents, points.vectors[np.array(rows, dtype=np.intp)])


def _document_of(payload: dict[str, object]) -> UUID:
    try:
        return UUID(str(payload.get("document_id")))
    except ValueError:
        return NOBODY
