"""Deletes a large collection while an APPEND writes to it. What it holds is written directly, as for ``verify``."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from sqlalchemy import text

from app.bootstrap.parts import EmbedderRegistry
from app.db.database import copy_rows
from app.db.documents import CHUNK_COLUMNS
from app.db.sources import SourceRepository
from app.domain.documents import SourceKind
from app.domain.errors import CollectionNotFoundError
from app.domain.operations import Operation, OperationState
from app.domain.points import SearchFilter, SearchMode
from app.domain.search_settings import SearchSettings
from app.domain.sparse_settings import SparseSettings
from app.operations.collections import CollectionService
from app.operations.removals import RemovalService
from app.pipeline.write import make_points
from app.search.service import SearchService
from benchmarks.corpus import write_corpus
from benchmarks.memory import read_peak
from benchmarks.systems import Figures
from benchmarks.verify import CHUNKS as CHUNKS_OF_A_DOCUMENT
from benchmarks.verify import DOCUMENTS_PER_BATCH, INSERT, make_documents, rows_of
from benchmarks.worker import REAL

if TYPE_CHECKING:
    from benchmarks.bench import Bench

CHUNKS = 200_000
APPENDED = 20_000
"""Documents of the folder that is being appended: more than it gets to."""

POLL_SECONDS = 0.005
SAMPLE_SECONDS = 0.02
TABLES = ("chunks", "documents", "sources", "generations", "operations")
CLEAR_REFS = "/proc/{pid}/clear_refs"


async def bench_delete(bench: "Bench", *, chunks: int = CHUNKS, appended: int = APPENDED) -> Figures:
    """How soon it is out of sight, its writer stopped and all of it gone; and what memory the worker takes for that."""
    collection, append = await _prepare(bench, chunks=chunks, appended=appended)
    worker = await _start_worker(bench)
    try:
        await _until_it_stores(bench, append)
        before = _start_peak(worker.pid)
        asked = time.perf_counter()
        operation = await _removals(bench).delete(bench.user_id, str(collection))
        answered = time.perf_counter()
        hits = await _search(bench, collection)
        listed = await CollectionService(bench.parts.database).list(bench.user_id)
        hidden = time.perf_counter()
        stopped_seconds = await _wait_for_stop(bench, append, asked=asked)
        ended = await bench.wait(operation)
        gone = time.perf_counter()
        peak = read_peak(worker.pid)
    finally:
        worker.send_signal(signal.SIGTERM)
        await worker.wait()
    left = await count_left(bench, collection)
    if left or hits or listed:
        raise SystemExit(f"left behind: {left}; {hits} hits, {len(listed)} collections listed")
    result = ended.result or {}
    return {
        "chunks": result["chunks"],
        "points": result["points"],
        "documents": result["documents"],
        "answered_ms": round((answered - asked) * 1000, 1),
        "search_and_list_without_it_ms": round((hidden - asked) * 1000, 1),
        "running_append_stopped_ms": round(stopped_seconds * 1000, 1),
        "all_gone_seconds": round(gone - asked, 2),
        "chunks_per_second": round(result["chunks"] / (gone - asked)),
        "worker_mib_before": round(before / 2**20, 1),
        "worker_peak_mib_meanwhile": round(peak / 2**20, 1),
        "rows_and_points_left": sum(left.values()),
    }


def _removals(bench: "Bench") -> RemovalService:
    return RemovalService(bench.parts.database, bench.operations, bench.parts.dispatcher, bench.parts.queue)


async def _prepare(bench: "Bench", *, chunks: int, appended: int) -> tuple[UUID, Operation]:
    """A full collection, and an APPEND of a folder that waits for a worker."""
    empty, folder = bench.folder / "delete-empty", bench.folder / "delete-appended"
    empty.mkdir()
    await asyncio.to_thread(write_corpus, folder, appended)
    worker = await _start_worker(bench)
    try:
        await bench.index("delete", empty)
    finally:
        worker.send_signal(signal.SIGTERM)
        await worker.wait()
    collection = await bench.find_collection("delete")
    await _fill(bench, collection, chunks=chunks)
    async with bench.parts.database.begin() as connection:
        source = await SourceRepository(connection).add(
            collection, kind=SourceKind.DIRECTORY, url=folder.as_uri(), config={}
        )
    append = await bench.operations.create_append(bench.user_id, collection, source_id=source.id, mode="full")
    return collection, append


async def _fill(bench: "Bench", collection: UUID, *, chunks: int) -> None:
    """Write documents with their chunks and points."""
    database, store = bench.parts.database, bench.parts.store
    async with database.begin() as connection:
        query = text("SELECT id, name, dimension FROM generations WHERE collection_id = :id AND state = 'active'")
        generation = (await connection.execute(query, {"id": collection})).one()
    source, chance = await bench.find_source(collection), np.random.default_rng(1)
    for first in range(0, chunks // CHUNKS_OF_A_DOCUMENT, DOCUMENTS_PER_BATCH):
        made, payloads, documents = make_documents(collection, source, first)
        # nobody searches for them by meaning
        vectors = chance.standard_normal((len(made), generation.dimension), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        await store.upsert(generation.name, make_points(made, vectors, payloads, sparse=SparseSettings()))
        async with database.begin() as connection:
            await connection.execute(INSERT, documents)
            rows = rows_of(collection, generation.id, made)
            await copy_rows(connection, "chunks", columns=CHUNK_COLUMNS, rows=rows)


async def _start_worker(bench: "Bench") -> asyncio.subprocess.Process:
    endpoints, settings = bench.parts.endpoints, bench.parts.settings
    environment = os.environ | {
        "VECLOOM_DATABASE_URL": endpoints.database_url,
        "VECLOOM_REDIS_URL": endpoints.redis_url,
        "VECLOOM_QDRANT_URL": endpoints.qdrant_url,
        "VECLOOM_QDRANT_API_KEY": endpoints.qdrant_api_key or "",
        "VECLOOM_REDIS_NAMESPACE": settings.redis_namespace,
        "VECLOOM_LOG_LEVEL": "WARNING",
    }
    command = (sys.executable, "-m", "benchmarks.worker", REAL, str(bench.folder / "starts"))
    return await asyncio.create_subprocess_exec(*command, env=environment)


def _start_peak(pid: int) -> int:
    """Have the system measure a process's peak from now on (Linux); gives what it holds now."""
    Path(CLEAR_REFS.format(pid=pid)).write_text("5")
    return read_peak(pid)


async def _until_it_stores(bench: "Bench", append: Operation) -> None:
    """The APPEND is in the middle of writing chunks."""
    query = text("SELECT amount > 0 FROM operation_totals WHERE operation_id = :id AND name = 'chunks'")
    while True:
        async with bench.parts.database.begin() as connection:
            if await connection.scalar(query, {"id": append.id}):
                return
        await asyncio.sleep(SAMPLE_SECONDS)


async def _search(bench: "Bench", collection: UUID) -> int:
    """How many hits a search has."""
    embedders = EmbedderRegistry(bench.parts.settings, None)
    search = SearchService(bench.parts.database, bench.parts.store, embedders.find)
    try:
        answer = await search.search(
            bench.user_id,
            str(collection),
            query="whales",
            settings=SearchSettings(mode=SearchMode.BM25),
            limit=10,
            filter=SearchFilter(),
        )
    except CollectionNotFoundError:
        return 0
    finally:
        await embedders.aclose()
    return len(answer.hits)


async def _wait_for_stop(bench: "Bench", append: Operation, *, asked: float) -> float:
    """Seconds from the request to the end of the writer."""
    while not append.state.is_final:
        await asyncio.sleep(POLL_SECONDS)
        append = await bench.operations.get(bench.user_id, append.id)
    if append.state is not OperationState.CANCELLED:
        raise SystemExit(f"the APPEND {append.state}: {append.error_code} {append.error_message}")
    return time.perf_counter() - asked


async def count_left(bench: "Bench", collection: UUID) -> dict[str, int]:
    """Rows and physical collections that are still there of a collection."""
    left: dict[str, int] = {}
    async with bench.parts.database.begin() as connection:
        for table in TABLES:
            statement = text(f"SELECT count(*) FROM {table} WHERE collection_id = :id")  # noqa: S608 — our own names
            left[table] = await connection.scalar(statement, {"id": collection}) or 0
        statement = text("SELECT count(*) FROM collections WHERE id = :id")
        left["collections"] = await connection.scalar(statement, {"id": collection}) or 0
    left["stored"] = sum(collection.hex in name for name in await bench.parts.store.list_collections())
    return {name: number for name, number in left.items() if number}
