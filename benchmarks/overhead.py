"""What an operation costs that does nothing: Vecloom's beside the jobs of other queues, on the same Valkey."""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from benchmarks.rivals.arq_plain import ArqPlain
from benchmarks.rivals.celery_plain import CeleryPlain
from benchmarks.rivals.saq_plain import SaqPlain
from benchmarks.starts import NOOP
from benchmarks.systems import Figures, System, Worker, socket_of
from benchmarks.vecloom import Vecloom

if TYPE_CHECKING:
    from benchmarks.bench import Bench

SYSTEMS = ("vecloom", "arq", "arq100", "saq", "celery")
"""Prefixes of the figures: one column of the table each."""

START_SECONDS = 30.0
WHOLE_SECONDS = 300.0
UNTOUCHED_SECONDS = 0.02
"""How long the benchmark keeps quiet after it has created a job, so that its looking does not delay the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured."""

    starts: int = 200
    idle_seconds: float = 10.0
    jobs: int = 2000
    creators: int = 16


def all_systems(bench: "Bench") -> Sequence[System]:
    """Vecloom and the others, each with a database of Valkey for itself."""
    socket = socket_of(bench.parts.endpoints.redis_url)
    folder = bench.folder / "overhead"
    return (
        Vecloom(bench, folder / "vecloom"),
        ArqPlain(folder / "arq", socket=socket, database=1),
        ArqPlain(folder / "arq100", socket=socket, database=2, max_jobs=100),
        SaqPlain(folder / "saq", socket=socket, database=3),
        CeleryPlain(folder / "celery", socket=socket, database=4),
    )


async def bench_overhead(bench: "Bench", sizes: Sizes | None = None) -> Figures:
    """All figures of all systems, one system after the other."""
    sizes = sizes or Sizes()
    figures: Figures = {}
    async with Redis(unix_socket_path=socket_of(bench.parts.endpoints.redis_url)) as redis:
        for system in all_systems(bench):
            async with system:
                measured = await measure(system, sizes, redis)
            figures |= {f"{system.name}_{figure}": value for figure, value in measured.items()}
    return figures


async def measure(system: System, sizes: Sizes, redis: Redis) -> Figures:
    """All figures of one system."""
    if isinstance(system, Vecloom):
        await system.add_collections(sizes.jobs)
    figures: Figures = {"configuration": system.configuration}
    async with system.workers(NOOP, 1) as [worker]:
        await create_many(system, sizes.creators, creators=sizes.creators)
        await system.wait_until_finished(sizes.creators, seconds=WHOLE_SECONDS)
        await asyncio.sleep(min(system.settle_seconds, 2 * sizes.idle_seconds))
        figures |= await measure_idle(system, redis, sizes.idle_seconds)
        figures |= await measure_starts(system, sizes.starts)
        figures |= await measure_rate(system, worker, sizes)
    figures |= await measure_backlog(system, sizes)
    starts = system.log.read()
    return figures | {"run_twice": len(starts) - len({start.key for start in starts})}


async def measure_idle(system: System, redis: Redis, seconds: float) -> Figures:
    """What one worker without work asks of Valkey, and of Postgres where there is one."""

    async def count_commands() -> int:
        return int((await redis.info("stats"))["total_commands_processed"])

    transactions = await system.count_transactions() if isinstance(system, Vecloom) else 0
    commands = await count_commands()
    await asyncio.sleep(seconds)
    # the second INFO does not count itself
    figures: Figures = {"idle_redis_commands_per_second": round((await count_commands() - commands - 1) / seconds, 1)}
    if isinstance(system, Vecloom):
        transactions = await system.count_transactions() - transactions - 1
        figures["idle_postgres_transactions_per_second"] = round(transactions / seconds, 1)
    return figures


async def measure_starts(system: System, count: int) -> Figures:
    """One job after the other on an idle worker: from before the call that creates it to the start of its body."""
    called: dict[str, int] = {}
    committed: dict[str, int] = {}
    for _ in range(count):
        started = system.log.count()
        before = time.monotonic_ns()
        key = await system.create()
        called[key] = before
        if system.committed_ns is not None:
            committed[key] = system.committed_ns
        await asyncio.sleep(UNTOUCHED_SECONDS)
        await system.wait_until_finished(started + 1, seconds=START_SECONDS)
        await asyncio.sleep(random.uniform(0, system.pause_seconds))
    started_ns = {start.key: start.at_ns for start in reversed(system.log.read())}
    figures = _percentiles("start", [started_ns[key] - at for key, at in called.items()])
    if committed:
        figures |= _percentiles("commit_to_start", [started_ns[key] - at for key, at in committed.items()])
    return figures


def _percentiles(name: str, nanoseconds: Sequence[int]) -> Figures:
    cuts = statistics.quantiles(nanoseconds, n=100, method="inclusive")
    return {f"{name}_p50_ms": round(cuts[49] / 1e6, 2), f"{name}_p99_ms": round(cuts[98] / 1e6, 2)}


async def create_many(system: System, count: int, *, creators: int) -> None:
    """Create jobs from several tasks at once."""
    left = iter(range(count))

    async def create_some() -> None:
        for _ in left:
            await system.create()

    async with asyncio.TaskGroup() as group:
        for _ in range(creators):
            group.create_task(create_some())


async def measure_rate(system: System, worker: Worker, sizes: Sizes) -> Figures:
    """Many jobs while the worker works on them, from the first creation to the last end."""
    known = system.log.count()
    worker_before, own_before, started = worker.cpu_seconds(), time.process_time(), time.perf_counter()
    await create_many(system, sizes.jobs, creators=sizes.creators)
    own = time.process_time() - own_before
    await system.wait_until_finished(known + sizes.jobs, seconds=WHOLE_SECONDS)
    seconds = time.perf_counter() - started
    return {
        "per_second": round(sizes.jobs / seconds, 1),
        "cpu_ms_per_operation": round((worker.cpu_seconds() - worker_before) * 1000 / sizes.jobs, 2),
        "creator_cpu_ms_per_operation": round(own * 1000 / sizes.jobs, 2),
    }


async def measure_backlog(system: System, sizes: Sizes) -> Figures:
    """Many jobs that wait for a worker to start, from the first start of one to the last end."""
    known = system.log.count()
    await create_many(system, sizes.jobs, creators=sizes.creators)
    async with system.workers(NOOP, 1):
        await system.wait_until_finished(known + sizes.jobs, seconds=WHOLE_SECONDS)
        ended = time.monotonic_ns()
    first = min(start.at_ns for start in system.log.read()[known:])
    return {"backlog_per_second": round(sizes.jobs / ((ended - first) / 1e9), 1)}
