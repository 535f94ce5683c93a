"""Writes which characters of its document each point has, for maps of other chunks to be laid over this one."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.db.database import Database
from app.db.projected import SpanRow
from app.domain.collections import Generation
from app.pipeline.projection.pages import stream_pages
from app.projection.files import written
from app.projection.overlapping import SPANS, UNKNOWN, Spans
from app.projection.points_file import IDS, RowIndex, read_ids, to_ids

PER_PAGE = 2000


async def write_spans(database: Database, generation: Generation, folder: Path) -> None:
    """Little-endian int32 of shape ``(n, 2)``: start and end of each row; ``UNKNOWN`` where the manifest has none."""
    index, spans = await asyncio.to_thread(_begin, folder)
    pages = stream_pages(
        database,
        generation,
        lambda manifest, after: manifest.list_spans(generation.id, after=after, limit=PER_PAGE),
        limit=PER_PAGE,
    )
    async for page in pages:
        await asyncio.to_thread(_note, index, spans, page)
    await asyncio.to_thread(_write, folder / SPANS, spans)


def _begin(folder: Path) -> tuple[RowIndex, Spans]:
    ids = read_ids(folder / IDS)
    return RowIndex(ids), np.full((len(ids), 2), UNKNOWN, dtype="<i4")


def _note(index: RowIndex, spans: Spans, page: Sequence[SpanRow]) -> None:
    rows = index.find(to_ids([one.id for one in page]))
    told = np.array([(one.start, one.end) for one in page], dtype=np.int32).reshape(-1, 2)
    spans[rows[rows >= 0]] = told[rows >= 0]


def _write(path: Path, spans: Spans) -> None:
    with written(path) as temporary:
        spans.tofile(temporary)
