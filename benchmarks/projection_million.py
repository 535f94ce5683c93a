"""A map of a million points."""

import asyncio
import time
from typing import TYPE_CHECKING

from app.domain.projections import SAMPLE, ProjectionChoice
from benchmarks.projection_memory import MemoryWatch
from benchmarks.projection_points import ON_DISK, Filled
from benchmarks.projections import Drawing, ask, compile_code, measure_trustworthiness, read
from benchmarks.systems import Figures
from benchmarks.worker import REAL

if TYPE_CHECKING:
    from benchmarks.bench import Bench

POINTS = 1_000_000
POLL_SECONDS = 0.5


async def bench_projection_million(bench: "Bench", points: int = POINTS, sample: int = SAMPLE) -> Figures:
    """Every point has a place; what that takes of time and memory, beside the servers that it reads from."""
    await compile_code()
    filled = Filled(bench, "million")
    async with Drawing(bench, bench.folder / "system") as system:
        started = time.perf_counter()
        async with system.workers(REAL, 1):
            await filled.create(index=ON_DISK)
            await filled.add(points)
        filling = time.perf_counter() - started
        async with system.workers(REAL, 1) as (worker,):
            memory = MemoryWatch(worker.pid, bench.servers)
            watching = asyncio.create_task(memory.watch())
            operation = await ask(bench, filled, ProjectionChoice(sample=sample))
            operation = await bench.wait(operation, poll_seconds=POLL_SECONDS)
            watching.cancel()
        drawn = await read(bench, filled, operation)
    return {
        "points": len(drawn.coordinates),
        "laid_out": drawn.result["sampled"],
        "seconds_to_fill_the_collection": round(filling, 1),
        "seconds": round(drawn.seconds, 1),
        **drawn.stages("stage"),
        **{name: round(value, 4) for name, value in drawn.result["quality"].items()},
        "trustworthiness_again": round(await measure_trustworthiness(filled, drawn.coordinates), 4),
        "artifacts_mib": round(drawn.result["bytes"] / 2**20, 1),
        **memory.describe(),
    }
