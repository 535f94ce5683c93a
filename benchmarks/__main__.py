"""``make bench``: what Vecloom costs on this machine, each figure beside something real in the same run."""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from app.bootstrap import (
    EmbedderRegistry,
    Endpoints,
    Parts,
    open_parts,
    running_worker,
)
from app.db.migrate import migrate
from app.domain.documents import Chunking, PrepareRequest, SourceSpec
from app.domain.identity import document_id, locator_of
from app.domain.operations import Operation
from app.domain.points import SearchFilter, SearchMode
from app.embedded.stack import EmbeddedStack
from app.embedders.static import embed_texts
from app.logs import log_to_stderr
from app.operations.collections import IdentityService
from app.operations.service import OperationService
from app.pipeline.prepare import prepare_documents
from app.search.service import SearchService
from app.settings import Settings
from benchmarks import overhead, recovery
from benchmarks.cancel import bench_cancel
from benchmarks.corpus import write_corpus
from benchmarks.lag import bench_lag
from benchmarks.overhead import bench_overhead
from benchmarks.recovery import bench_recovery
from benchmarks.systems import Figures
from benchmarks.verify import bench_verify

DOCUMENTS = 2000
SEARCHES = 200
OPERATIONS = 200
CONFIGURATION = "configuration"
"""The figure that says in words how a system was set up; it stands below its table."""


class Bench:
    """A served stack and its caller."""

    def __init__(self, parts: Parts, user_id: UUID, folder: Path) -> None:
        self.parts = parts
        self.user_id = user_id
        self.folder = folder
        self.operations = OperationService(
            parts.database,
            parts.dispatcher,
            parts.queue,
            parts.events,
            default_model="wordllama",
            default_chunking=Chunking(),
        )

    async def index(self, name: str, folder: Path | None) -> Operation:
        """Index a folder into a new collection and wait."""
        sources = [SourceSpec(url=folder.as_uri())] if folder else []
        _, operation = await self.operations.create_collection(
            self.user_id, name=name, model=None, chunking=None, sources=sources
        )
        return await self.wait(operation)

    async def wait(self, operation: Operation) -> Operation:
        """Wait for the end; anything but success ends the benchmark."""
        while not operation.state.is_final:
            await asyncio.sleep(0.01)
            operation = await self.operations.get(self.user_id, operation.id)
        if operation.state != "completed":
            raise SystemExit(f"{operation.kind} {operation.state}: {operation.error_code} {operation.error_message}")
        return operation


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Bench]:
    """The embedded stack with a worker on this event loop."""
    settings = Settings(data=folder / "data")
    async with EmbeddedStack(settings.data) as stack:
        endpoints = Endpoints(
            database_url=stack.database_url,
            redis_url=stack.redis_url,
            qdrant_url=stack.qdrant_url,
            qdrant_api_key=stack.qdrant_api_key,
        )
        await migrate(endpoints.database_url)
        async with open_parts(settings, endpoints) as parts:
            identity = IdentityService(parts.database)
            caller = await identity.authenticate(await identity.issue_key("bench", name="bench"))
            yield Bench(parts, caller.user_id, folder)


def prepare_alone(folder: Path) -> tuple[float, float, int]:
    """Seconds of reading, extracting and chunking a folder, and of embedding it, on one core, nothing around."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    requests = []
    for path in paths:
        uri = path.as_uri()
        locator = locator_of(uri)
        requests.append(
            PrepareRequest(
                document_id=document_id(UUID(int=0), uri),
                uri=uri,
                path=path.name,
                locator=locator,
                known_hash=None,
                max_bytes=2**30,
            )
        )
    prepare_documents(requests[:20], Chunking())
    started = time.perf_counter()
    prepared = prepare_documents(requests, Chunking())
    preparing = time.perf_counter() - started
    texts = sorted((chunk.text for document in prepared for chunk in document.chunks), key=len)
    embed_texts(texts[:20])
    started = time.perf_counter()
    for start in range(0, len(texts), 100):
        embed_texts(texts[start : start + 100])
    return preparing, time.perf_counter() - started, len(texts)


async def bench_ingest(bench: Bench) -> Figures:
    """First run, second run, and the same work without any system around it."""
    corpus = bench.folder / "corpus"
    write_corpus(corpus, DOCUMENTS)
    preparing, embedding, chunks = await asyncio.to_thread(prepare_alone, corpus)
    async with running_worker(bench.parts):
        await bench.index("warm", None)
        first = (await bench.index("corpus", corpus)).result or {}
        collection_id = await _collection_id(bench, "corpus")
        source_id = await _source_id(bench, collection_id)
        again = await bench.operations.create_append(bench.user_id, collection_id, source_id=source_id, mode="full")
        second = (await bench.wait(again)).result or {}
    figures: Figures = {
        "documents": DOCUMENTS,
        "chunks": chunks,
        "first_run_seconds": first["seconds"],
        "documents_per_second": round(DOCUMENTS / first["seconds"], 1),
        "tokens_per_second": round(first["tokens"] / first["seconds"]),
        "embedder_busy_ratio": first["embedder_busy_ratio"],
        "bare_work_on_one_core_seconds": round(preparing + embedding, 3),
        "ratio_to_bare_work_on_two_cores": round(first["seconds"] / ((preparing + embedding) / 2), 2),
        "second_run_seconds": second["seconds"],
        "second_run_tokens": second["tokens"],
        "second_run_times_faster": round(first["seconds"] / second["seconds"], 1),
    }
    return figures | {f"busy_{stage}_seconds": value["seconds"] for stage, value in first["stages"].items()}


async def _collection_id(bench: Bench, name: str) -> UUID:
    async with bench.parts.database.begin() as connection:
        found = await connection.scalar(text("SELECT id FROM collections WHERE name = :name"), {"name": name})
    return UUID(str(found))


async def _source_id(bench: Bench, collection_id: UUID) -> UUID:
    async with bench.parts.database.begin() as connection:
        found = await connection.scalar(text("SELECT id FROM sources WHERE collection_id = :id"), {"id": collection_id})
    return UUID(str(found))


async def bench_search(bench: Bench) -> Figures:
    """Latency of searches in an idle collection, by mode."""
    corpus = bench.folder / "search-corpus"
    paths = write_corpus(corpus, 500).paths
    async with running_worker(bench.parts):
        await bench.index("search", corpus)
    embedders = EmbedderRegistry(bench.parts.settings, None)
    service = SearchService(bench.parts.database, bench.parts.store, embedders.find)
    figures: Figures = {"documents": len(paths), "searches": SEARCHES}
    for mode in SearchMode:
        times = []
        for number in range(SEARCHES + 10):
            words = (corpus / paths[number % len(paths)]).read_text()[200:260]
            started = time.perf_counter()
            await service.search(bench.user_id, "search", query=words, mode=mode, limit=10, filter=SearchFilter())
            times.append((time.perf_counter() - started) * 1000)
        cuts = statistics.quantiles(times[10:], n=100)
        figures |= {f"{mode}_p50_ms": round(cuts[49], 2), f"{mode}_p99_ms": round(cuts[98], 2)}
    return figures


async def bench_queue(bench: Bench) -> Figures:
    """Enqueue to start on an idle worker, and whole operations a second."""
    empty = bench.folder / "empty"
    empty.mkdir()
    async with running_worker(bench.parts):
        await bench.index("queue", empty)
        collection_id = await _collection_id(bench, "queue")
        source_id = await _source_id(bench, collection_id)
        started = time.perf_counter()
        for _ in range(OPERATIONS):
            operation = await bench.operations.create_append(
                bench.user_id, collection_id, source_id=source_id, mode="full"
            )
            await bench.wait(operation)
        elapsed = time.perf_counter() - started
    async with bench.parts.database.begin() as connection:
        rows = await connection.execute(
            text(
                "SELECT extract(epoch FROM started_at - dispatched_at) * 1000 AS ms FROM operations"
                " WHERE kind = 'APPEND' AND collection_id = :id"
            ),
            {"id": collection_id},
        )
        waits = [float(row.ms) for row in rows]
    cuts = statistics.quantiles(waits, n=100)
    return {
        "operations": OPERATIONS,
        "enqueue_to_start_p50_ms": round(cuts[49], 2),
        "enqueue_to_start_p99_ms": round(cuts[98], 2),
        "one_after_the_other_per_second": round(OPERATIONS / elapsed, 1),
    }


async def bench_memory(bench: Bench) -> Figures:
    """Peak memory of a worker process for 2 000 and for 20 000 documents."""
    from benchmarks.memory import peak_of_worker  # noqa: PLC0415 — starts processes of its own

    small = await peak_of_worker(bench, documents=DOCUMENTS)
    large = await peak_of_worker(bench, documents=10 * DOCUMENTS)
    return {
        "worker_peak_mib_2000_documents": round(small.worker / 2**20, 1),
        "worker_peak_mib_20000_documents": round(large.worker / 2**20, 1),
        "worker_ratio": round(large.worker / small.worker, 3),
        "with_children_peak_mib_2000_documents": round(small.with_children / 2**20, 1),
        "with_children_peak_mib_20000_documents": round(large.with_children / 2**20, 1),
        "with_children_ratio": round(large.with_children / small.with_children, 3),
    }


BENCHES: dict[str, Callable[[Bench], Awaitable[Figures]]] = {
    "queue": bench_queue,
    "search": bench_search,
    "ingest": bench_ingest,
    "verify": bench_verify,
    "memory": bench_memory,
    "cancel": bench_cancel,
    "overhead": bench_overhead,
    "recovery": bench_recovery,
    "lag": bench_lag,
}
BESIDE = {"overhead": overhead.SYSTEMS, "recovery": recovery.SYSTEMS}
"""Benchmarks of several systems, and the prefixes of their figures: a column of the table each."""


async def run(names: list[str]) -> dict[str, Figures]:
    """Each benchmark on a stack of its own."""
    results: dict[str, Figures] = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="vecloom-bench-") as folder:
            async with opened(Path(folder)) as bench:
                results[name] = await BENCHES[name](bench)
    return results


def show(results: dict[str, Figures]) -> None:
    """A table a README reader understands."""
    console = Console()
    for name, figures in results.items():
        systems = BESIDE.get(name)
        if systems is None:
            console.print(_table(name, figures))
            continue
        console.print(_table_beside(name, figures, systems))
        for system in systems:
            console.print(f"{system}: {figures[f'{system}_{CONFIGURATION}']}", highlight=False)


def _table(name: str, figures: Figures) -> Table:
    table = Table("figure", "value", title=name, title_justify="left")
    for figure, value in figures.items():
        table.add_row(figure.replace("_", " "), str(value))
    return table


def _table_beside(name: str, figures: Figures, systems: Sequence[str]) -> Table:
    """A column for each system, a row for each of the figures that they have in common or alone."""
    table = Table("figure", *systems, title=name, title_justify="left")
    rows = dict.fromkeys(key.partition("_")[2] for key in figures)
    rows.pop(CONFIGURATION)
    for row in rows:
        table.add_row(row.replace("_", " "), *(str(figures.get(f"{system}_{row}", "")) for system in systems))
    return table


def main() -> None:
    """Run all or one."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--only", choices=sorted(BENCHES))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    log_to_stderr("WARNING")
    results: dict[str, Any] = asyncio.run(run([arguments.only] if arguments.only else list(BENCHES)))
    if arguments.json:
        sys.stdout.write(orjson.dumps(results).decode() + "\n")
    else:
        show(results)


if __name__ == "__main__":
    main()
