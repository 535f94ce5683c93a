"""Writes what the manifest knows of points: texts to make labels of, and what is shown of each point."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from app.db.database import Database
from app.db.projected import PreviewRow, ProjectedRepository
from app.domain.collections import Generation
from app.pipeline.projection.pages import stream_pages
from app.projection.points_file import IDS, RowIndex, read_ids, to_ids, to_uuids

TEXTS, PREVIEWS = "texts.jsonl", "previews.jsonl"
MOST_TEXTS = 20_000
TEXTS_PER_PAGE = 1000
PREVIEWS_PER_PAGE = 1000
"""More would keep the event loop for longer than others there can wait."""


def choose_rows(points: int, *, seed: int) -> NDArray[np.int64]:
    """Rows whose texts labels are made of: all of them, or some that chance chooses."""
    if points <= MOST_TEXTS:
        return np.arange(points, dtype=np.int64)
    chosen = np.random.default_rng(seed).choice(points, size=MOST_TEXTS, replace=False)
    return np.sort(chosen).astype(np.int64)


async def write_texts(database: Database, generation: Generation, folder: Path, *, seed: int) -> Path:
    """One JSON line a chunk, ``{"row", "text"}``, of a sample; a chunk that the manifest has no more is missing."""
    ids = await asyncio.to_thread(read_ids, folder / IDS)
    rows = choose_rows(len(ids), seed=seed)
    path = folder / TEXTS
    with await asyncio.to_thread(path.open, "wb") as file:
        for start in range(0, len(rows), TEXTS_PER_PAGE):
            page = rows[start : start + TEXTS_PER_PAGE]
            wanted = to_uuids(ids[page])
            async with database.begin() as connection:
                found = await ProjectedRepository(connection, generation.collection_id).load_texts(
                    generation.id, wanted
                )
            lines = [
                {"row": row, "text": found[point]}
                for row, point in zip(page.tolist(), wanted, strict=True)
                if point in found
            ]
            await asyncio.to_thread(_write_lines, file, lines)
    return path


async def write_previews(database: Database, generation: Generation, folder: Path) -> Path:
    """One JSON line for each point that the manifest knows: ``{"row", "preview", "document_id", "uri", "title"}``."""
    index = await asyncio.to_thread(lambda: RowIndex(read_ids(folder / IDS)))
    path = folder / PREVIEWS
    pages = stream_pages(
        database,
        generation,
        lambda manifest, after: manifest.list_previews(generation.id, after=after, limit=PREVIEWS_PER_PAGE),
        limit=PREVIEWS_PER_PAGE,
    )
    with await asyncio.to_thread(path.open, "wb") as file:
        async for page in pages:
            await asyncio.to_thread(_write_previews, file, index, page)
    return path


def _write_previews(file: Any, index: RowIndex, page: Sequence[PreviewRow]) -> None:  # noqa: ANN401 — a file
    rows = index.find(to_ids([one.id for one in page]))
    _write_lines(
        file,
        [
            {
                "row": row,
                "preview": one.preview,
                "document_id": str(one.document_id),
                "uri": one.uri,
                "title": one.title,
            }
            for row, one in zip(rows.tolist(), page, strict=True)
            if row >= 0
        ],
    )


def _write_lines(file: Any, values: Sequence[dict[str, Any]]) -> None:  # noqa: ANN401 — a file
    file.write(b"".join(orjson.dumps(value) + b"\n" for value in values))
