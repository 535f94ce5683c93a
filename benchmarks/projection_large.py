"""A large map: what it takes, whether its worker answers meanwhile, and how soon it can be cancelled wherever it is."""

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from app.domain.projections import ProjectionChoice
from benchmarks.lag import WATCHING, sample_lag, summary_ms, watch_heartbeats
from benchmarks.limit import POLL_SECONDS
from benchmarks.projection_cancel import cancel_everywhere
from benchmarks.projection_memory import MemoryWatch
from benchmarks.projection_points import Filled
from benchmarks.projections import Drawing, ask, compile_code, read
from benchmarks.systems import Figures, Worker
from benchmarks.worker import REAL

if TYPE_CHECKING:
    from benchmarks.bench import Bench

POINTS = 200_000
CANCELLED_SAMPLE, CANCELLED_EPOCHS = 20_000, 50
"""Of a map that will be cancelled, so that it soon comes to where that is: so many points are laid out, but all are
fetched and written."""


async def bench_projection_large(bench: "Bench", points: int = POINTS, sample: int = CANCELLED_SAMPLE) -> Figures:
    """One map with everything that is measured, then one for each stage in which it is cancelled."""
    await compile_code()
    filled = Filled(bench, "large")
    async with Drawing(bench, bench.folder / "system") as system:
        async with system.workers(REAL, 1):
            await filled.create()
            await filled.add(points)
        async with system.workers(WATCHING, 1) as (worker,):
            figures = await _draw_watched(bench, system, filled, worker)
        async with system.workers(REAL, 1):
            choice = ProjectionChoice(sample=sample, parameters={"epochs": CANCELLED_EPOCHS})
            figures |= await cancel_everywhere(bench, filled, choice)
    return figures


async def _draw_watched(bench: "Bench", system: Drawing, filled: Filled, worker: Worker) -> Figures:
    """A map by a worker that samples its event loop in a second operation, as this process does with its own."""
    await system.add_collections(1)
    own: list[float] = []
    memory = MemoryWatch(worker.pid, bench.servers)
    tasks = [asyncio.create_task(sample_lag(own)), asyncio.create_task(memory.watch())]
    operation = await ask(bench, filled, ProjectionChoice())
    # it ends when no other operation is left
    watching = UUID(await system.create())
    gaps = await watch_heartbeats(bench, operation.id)
    for task in tasks:
        task.cancel()
    operation = await bench.wait(operation, poll_seconds=POLL_SECONDS)
    lag = (await bench.wait(await bench.operations.get(bench.user_id, watching))).result or {}
    drawn = await read(bench, filled, operation)
    beside = summary_ms(own)
    return {
        "points": drawn.result["points"],
        "laid_out": drawn.result["sampled"],
        "seconds": round(drawn.seconds, 1),
        **drawn.stages("stage"),
        **{name: round(value, 4) for name, value in drawn.result["quality"].items()},
        **memory.describe(),
        **{f"event_loop_lag_{name}": lag[name] for name in beside},
        **{f"lag_of_a_process_that_only_polls_{name}": beside[name] for name in beside},
        "heartbeats_seen": len(gaps),
        "largest_gap_between_heartbeats_seconds": round(max(gaps, default=0.0), 2),
        "lease_seconds": bench.parts.settings.lease,
    }
