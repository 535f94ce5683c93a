"""How soon a cancel takes effect: from the request to the committed final state, by Postgres' own clock."""

import asyncio
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from app.bootstrap import open_parts, running_worker
from app.domain.documents import SourceSpec
from app.domain.operations import Operation
from app.settings import Settings
from benchmarks.corpus import write_corpus
from benchmarks.systems import Figures

if TYPE_CHECKING:
    from benchmarks.bench import Bench

REPETITIONS = 7
SENTENCES = 2_500_000
UNDER_WAY_SECONDS = 3.0
"""Until the stage that is meant is reached for certain."""

SILENT_MODEL = "silent"


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """A model server that takes every request and never answers."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def write_large(folder: Path) -> Path:
    """One text that takes a process long to chunk."""
    folder.mkdir()
    (folder / "large.txt").write_text("".join(f"Sentence {n} of a long, long text.\n" for n in range(SENTENCES)))
    return folder


async def bench_cancel(bench: "Bench") -> Figures:
    """Cancels in the stages that are hard to stop: a computing process, a request without an answer; and waiting."""
    large = write_large(bench.folder / "large")
    small = bench.folder / "small"
    write_corpus(small, 50)
    figures: Figures = {"repetitions": REPETITIONS}
    async with silent_server() as url:
        settings = Settings(
            data=bench.parts.settings.data, embedding_url=url, embedding_model=SILENT_MODEL, embedding_timeout=600
        )
        async with open_parts(settings, bench.parts.endpoints) as parts, running_worker(parts):
            for name, folder, model in (
                ("computing_process", large, "wordllama"),
                ("silent_embedder", small, SILENT_MODEL),
            ):
                waits = [await _cancel_one(bench, f"{name}-{n}", folder, model) for n in range(REPETITIONS)]
                figures |= _describe(name, waits)
    waits = [await _cancel_one(bench, f"pending-{n}", small, "wordllama", seconds=0.1) for n in range(REPETITIONS)]
    return figures | _describe("pending", waits)


async def _cancel_one(
    bench: "Bench", name: str, folder: Path, model: str, *, seconds: float = UNDER_WAY_SECONDS
) -> float:
    """Milliseconds from the request to the end."""
    _, operation = await bench.operations.create_collection(
        bench.user_id, name=name, model=model, chunking=None, sources=[SourceSpec(url=folder.as_uri())]
    )
    await asyncio.sleep(seconds)
    await bench.operations.cancel(bench.user_id, operation.id)
    while not operation.state.is_final:
        await asyncio.sleep(0.02)
        operation = await bench.operations.get(bench.user_id, operation.id)
    if operation.state != "cancelled":
        raise SystemExit(f"{name} ended as {operation.state} {operation.error_code} before it was cancelled")
    return await _measured(bench, operation)


async def _measured(bench: "Bench", operation: Operation) -> float:
    async with bench.parts.database.begin() as connection:
        waited = await connection.scalar(
            text("SELECT extract(epoch FROM finished_at - cancel_requested_at) * 1000 FROM operations WHERE id = :id"),
            {"id": operation.id},
        )
    return float(waited or 0.0)


def _describe(name: str, waits: list[float]) -> Figures:
    return {f"{name}_median_ms": round(statistics.median(waits), 1), f"{name}_max_ms": round(max(waits), 1)}
