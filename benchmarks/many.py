"""Peak memory of a worker for very many documents, beside that for few."""

import asyncio

from benchmarks.bench import Bench
from benchmarks.free_embedder import FREE
from benchmarks.limit import POLL_SECONDS, seconds_of
from benchmarks.memory import list_children, read_peak
from benchmarks.systems import Figures
from benchmarks.tiny import write_tiny
from benchmarks.vecloom import Vecloom

FEW, MANY = 5_000, 100_000


async def bench_many(bench: Bench, few: int = FEW, many: int = MANY) -> Figures:
    """Each number of documents gets a fresh worker; its embedder costs nothing, so that it ends in minutes."""
    figures: Figures = {}
    peaks = []
    for name, files in (("few", few), ("many", many)):
        folder = bench.folder / name
        await asyncio.to_thread(write_tiny, folder, files)
        async with Vecloom(bench, bench.folder / f"{name}-system") as system, system.workers(FREE, 1) as [worker]:
            operation = await bench.index(name, folder, poll_seconds=POLL_SECONDS)
            own = read_peak(worker.pid)
            both = own + sum(read_peak(child) for child in list_children(worker.pid))
        peaks.append((own, both))
        figures |= {
            f"{name}_documents": files,
            f"{name}_seconds": round(seconds_of(operation), 1),
            f"{name}_worker_peak_mib": round(own / 2**20, 1),
            f"{name}_with_children_peak_mib": round(both / 2**20, 1),
        }
    (small, small_both), (large, large_both) = peaks
    ratios = {"worker_ratio": large / small, "with_children_ratio": large_both / small_both}
    return figures | {name: round(ratio, 3) for name, ratio in ratios.items()}
