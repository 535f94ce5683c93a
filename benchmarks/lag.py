"""Whether a worker under load renews its leases in time: it indexes while its processes compute."""

import asyncio
import statistics
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text

from app.domain.documents import SourceSpec
from app.domain.operations import Operation
from app.jobs.context import JobContext
from benchmarks.corpus import write_corpus
from benchmarks.systems import Figures
from benchmarks.vecloom import Vecloom

if TYPE_CHECKING:
    from benchmarks.bench import Bench

BUSY = "busy"
"""The body of a job that keeps processes computing and watches the event loop it runs on."""
WATCHING = "watching"
"""The same without computing: what else the worker does is what is measured."""

CPU_BOUND_CALLS = 2
CALL_SECONDS = 2.0
SAMPLE_SECONDS = 0.01
POLL_SECONDS = 0.02
DOCUMENTS = 4000
PROCESS_SLOTS = 4
"""Two for the calls and two for the documents, on however few cores."""


def compute(seconds: float) -> int:
    """Do nothing useful on one core; runs in a child process."""
    ends = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < ends:
        rounds += sum(range(1000)) > 0
    return rounds


async def keep_busy(context: JobContext, operation: Operation) -> dict[str, Any]:  # noqa: ARG001 — a job's signature
    """Keep two processes computing until asked to stop; the result tells how late the event loop was meanwhile."""
    return await _watch(context, calls=CPU_BOUND_CALLS)


async def keep_watching(context: JobContext, operation: Operation) -> dict[str, Any]:  # noqa: ARG001 — see above
    """The same without computing."""
    return await _watch(context, calls=0)


async def _watch(context: JobContext, *, calls: int) -> dict[str, Any]:
    samples: list[float] = []
    async with asyncio.TaskGroup() as group:
        sampling = group.create_task(sample_lag(samples))
        computing = [group.create_task(_call_forever(context)) for _ in range(calls)]
        while not context.should_yield() and not await _is_alone(context):  # noqa: ASYNC110 — rows tell nobody
            await asyncio.sleep(CALL_SECONDS / 2)
        for task in (sampling, *computing):
            task.cancel()
    return summary_ms(samples)


async def _call_forever(context: JobContext) -> None:
    while True:
        await context.resources.processes.run(compute, CALL_SECONDS, timeout_seconds=60)


async def _is_alone(context: JobContext) -> bool:
    async with context.resources.database.begin() as connection:
        others = await connection.scalar(
            text("SELECT count(*) FROM operations WHERE finished_at IS NULL AND id <> :id"),
            {"id": context.lease.operation_id},
        )
    return not others


async def sample_lag(samples: list[float]) -> None:
    """Sleep again and again, and note by how many seconds each sleep was too long."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(SAMPLE_SECONDS)
        samples.append(time.perf_counter() - before - SAMPLE_SECONDS)


def summary_ms(samples: list[float]) -> dict[str, Any]:
    """Percentiles in milliseconds."""
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    return {
        "p50_ms": round(cuts[49] * 1000, 2),
        "p99_ms": round(cuts[98] * 1000, 2),
        "max_ms": round(max(samples) * 1000, 2),
        "samples": len(samples),
    }


class _BusyVecloom(Vecloom):
    """Its worker has processes for the documents beside those for the calls."""

    def environment(self) -> dict[str, str]:
        """See the base."""
        return super().environment() | {"VECLOOM_PROCESS_SLOTS": str(PROCESS_SLOTS)}


async def bench_lag(bench: "Bench", documents: int = DOCUMENTS) -> Figures:
    """Event-loop lag inside the worker, beside that of a process which only polls; and the gaps between heartbeats."""
    corpus = bench.folder / "lag-corpus"
    await asyncio.to_thread(write_corpus, corpus, documents)
    own: list[float] = []
    async with _BusyVecloom(bench, bench.folder / "lag") as system, system.workers(BUSY, 1):
        await system.add_collections(1)
        _, index = await bench.operations.create_collection(
            bench.user_id,
            name="lag-corpus",
            model=None,
            chunking=None,
            sources=[SourceSpec(url=corpus.as_uri())],
        )
        busy = UUID(await system.create())
        sampling = asyncio.create_task(sample_lag(own))
        gaps = await watch_heartbeats(bench, index.id)
        sampling.cancel()
        index = await bench.wait(index)
        lag = (await bench.wait(await bench.operations.get(bench.user_id, busy))).result or {}
    beside = summary_ms(own)
    figures = beside.keys()
    return {
        "documents": documents,
        "cpu_bound_calls": CPU_BOUND_CALLS,
        "index_seconds": (index.result or {})["seconds"],
        **{f"event_loop_lag_{figure}": lag[figure] for figure in figures},
        **{f"lag_of_a_process_that_only_polls_{figure}": beside[figure] for figure in figures},
        "heartbeats_seen": len(gaps),
        "heartbeat_every_seconds": bench.parts.settings.heartbeat,
        "largest_gap_between_heartbeats_seconds": round(max(gaps, default=0.0), 3),
        "lease_seconds": bench.parts.settings.lease,
        "attempts": index.attempt,
    }


async def watch_heartbeats(bench: "Bench", operation_id: UUID) -> list[float]:
    """Seconds between the heartbeats of an operation, by Postgres' clock, until it ends; its end counts as one."""
    statement = text("SELECT heartbeat_at, finished_at FROM operations WHERE id = :id")
    gaps: list[float] = []
    last = None
    while True:
        async with bench.parts.database.begin() as connection:
            row = (await connection.execute(statement, {"id": operation_id})).one()
        now = row.finished_at or row.heartbeat_at
        if last is not None and now != last:
            gaps.append((now - last).total_seconds())
        last = now
        if row.finished_at is not None:
            return gaps
        await asyncio.sleep(POLL_SECONDS)
