"""How fast a verification compares. The points are written directly: it does not matter who wrote them."""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from sqlalchemy import text

from app.bootstrap import running_worker
from app.db.database import copy_rows
from app.db.documents import CHUNK_COLUMNS, ChunkRow
from app.db.verification import ManifestRepository
from app.domain.identity import chunk_ids, document_id
from app.domain.sparse_settings import SparseSettings
from app.embedders.static import embed_texts
from app.pipeline.verify import NUMBERS_PER_PAGE, ROWS_PER_PAGE
from app.pipeline.write import make_points, payload_of

if TYPE_CHECKING:
    from benchmarks.bench import Bench

POINTS = 100_000
CHUNKS = 50
"""Of each document."""
DOCUMENTS_PER_BATCH = 40
NO_PARENTS = (None,) * 4
"""Headings, where the parent begins and ends, and the white space before a chunk."""
WORDS = ("whales", "rockets", "bread", "glaciers", "bees", "violins", "volcanoes", "rivers", "and", "of", "the", "in")

INSERT = text(
    """INSERT INTO documents (id, collection_id, source_id, uri, path, size, modified_ns, position, state, chunk_count)
       VALUES (:id, :collection, :source, :uri, :path, 1, 1, 1, 'completed', :chunks)"""
)


async def bench_verify(bench: "Bench") -> dict[str, float | int | str]:
    """Points a second of a whole verification, beside reading both sides page by page and doing nothing with them."""
    empty = bench.folder / "empty"
    empty.mkdir()
    async with running_worker(bench.parts):
        await bench.index("verify", empty)
        await _fill(bench)
        started = time.perf_counter()
        await _read_both_sides(bench)
        reading = time.perf_counter() - started
        collection = (await _generation(bench)).collection_id
        operation = await bench.operations.create_verify(bench.user_id, collection, repair=False, deep=False)
        result: dict[str, Any] = (await bench.wait(operation)).result or {}
    if not result["ok"] or result["compared"] != POINTS:
        raise SystemExit(f"the verification is not what it should be: {result}")
    return {
        "points": POINTS,
        "seconds": result["seconds"],
        "points_per_second": round(POINTS / result["seconds"]),
        "compared_mib": round(result["compared_bytes"] / 2**20, 1),
        "texts_embedded_again": result["reembedded"],
        "reading_both_sides_alone_seconds": round(reading, 3),
        "ratio_to_reading_alone": round(result["seconds"] / reading, 2),
    }


async def _generation(bench: "Bench") -> Any:  # noqa: ANN401 — a row
    async with bench.parts.database.begin() as connection:
        query = text("SELECT id, name, dimension, collection_id FROM generations WHERE state = 'active'")
        return (await connection.execute(query)).one()


async def _read_both_sides(bench: "Bench") -> None:
    generation = await _generation(bench)
    page = NUMBERS_PER_PAGE // generation.dimension

    async def read_rows() -> None:
        after: UUID | None = None
        while True:
            async with bench.parts.database.begin() as connection:
                manifest = ManifestRepository(
                    connection, collection_id=generation.collection_id, generation_id=generation.id
                )
                _, after = await manifest.list_page(after=after, limit=ROWS_PER_PAGE)
            if after is None:
                return

    async def read_points() -> None:
        async for _ in bench.parts.store.stream_points(generation.name, dimension=generation.dimension, page=page):
            pass

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read_rows())
        tasks.create_task(read_points())


async def _fill(bench: "Bench") -> None:
    """Write documents with their chunks and points into the only collection."""
    generation = await _generation(bench)
    async with bench.parts.database.begin() as connection:
        source = (await connection.execute(text("SELECT id FROM sources"))).scalar_one()
    for first in range(0, POINTS // CHUNKS, DOCUMENTS_PER_BATCH):
        chunks, payloads, documents = make_documents(generation.collection_id, source, first)
        vectors = await asyncio.to_thread(embed_texts, [chunk.text for chunk in chunks])
        await bench.parts.store.upsert(generation.name, make_points(chunks, vectors, payloads, sparse=SparseSettings()))
        async with bench.parts.database.begin() as connection:
            await connection.execute(INSERT, documents)
            rows = rows_of(generation.collection_id, generation.id, chunks)
            await copy_rows(connection, "chunks", columns=CHUNK_COLUMNS, rows=rows)


def rows_of(collection: UUID, generation: UUID, chunks: Sequence[ChunkRow]) -> list[tuple[Any, ...]]:
    """Chunks as ``CHUNK_COLUMNS`` take them."""
    return [
        (collection, generation, c.id, c.document_id, c.ordinal, 0, c.end, c.tokens, c.text, *NO_PARENTS)
        for c in chunks
    ]


def make_documents(
    collection: UUID, source: UUID, first: int
) -> tuple[list[ChunkRow], list[dict[str, Any]], list[Any]]:
    """The chunks, payloads and rows of the next documents."""
    random = np.random.default_rng(first)
    chunks: list[ChunkRow] = []
    payloads: list[dict[str, Any]] = []
    documents: list[Any] = []
    for number in range(first, first + DOCUMENTS_PER_BATCH):
        uri, path = f"file:///made-up/{number}.md", f"{number}.md"
        document = document_id(collection, uri)
        texts = [f"Part {place} of {number}: {' '.join(random.choice(WORDS, 60))}." for place in range(CHUNKS)]
        for place, (point, content) in enumerate(zip(chunk_ids(document, texts), texts, strict=True)):
            end = len(content)
            chunks.append(
                ChunkRow(id=point, document_id=document, ordinal=place, start=0, end=end, tokens=65, text=content)
            )
        payloads += [payload_of(document, source, path)] * CHUNKS
        row = {"id": document, "collection": collection, "source": source, "uri": uri, "path": path, "chunks": CHUNKS}
        documents.append(row)
    return chunks, payloads, documents
