"""``make bench``: what Vecloom costs on this machine, each figure beside something real in the same run."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson

from app.logs import log_to_stderr
from benchmarks import overhead, recovery, side_by_side
from benchmarks.bench import Bench, opened
from benchmarks.bodies import bench_bodies
from benchmarks.cancel import bench_cancel
from benchmarks.delete import bench_delete
from benchmarks.ingest import bench_ingest
from benchmarks.lag import bench_lag
from benchmarks.limit import bench_limit
from benchmarks.many import bench_many
from benchmarks.memory import bench_memory
from benchmarks.no_change import bench_no_change
from benchmarks.operations import bench_queue
from benchmarks.overhead import bench_overhead
from benchmarks.projection_large import bench_projection_large
from benchmarks.projection_million import bench_projection_million
from benchmarks.projection_speed import bench_projection_speed
from benchmarks.projection_stability import bench_projection_stability
from benchmarks.quality import bench_benchmarks, bench_cranfield
from benchmarks.recovery import bench_recovery
from benchmarks.reindex import bench_reindex, bench_reindex_load
from benchmarks.scaling import bench_scaling
from benchmarks.search import bench_search
from benchmarks.side_by_side import bench_side_by_side
from benchmarks.slow import bench_slow_embedder
from benchmarks.systems import Figures
from benchmarks.tables import show
from benchmarks.under_load import bench_under_load
from benchmarks.verify import bench_verify

BENCHES: dict[str, Callable[[Bench], Awaitable[Figures]]] = {
    "queue": bench_queue,
    "search": bench_search,
    "ingest": bench_ingest,
    "ingest-limit": bench_limit,
    "slow-embedder": bench_slow_embedder,
    "scaling": bench_scaling,
    "bodies": bench_bodies,
    "no-change": bench_no_change,
    "many": bench_many,
    "search-under-load": bench_under_load,
    "side-by-side": bench_side_by_side,
    "verify": bench_verify,
    "memory": bench_memory,
    "cancel": bench_cancel,
    "overhead": bench_overhead,
    "recovery": bench_recovery,
    "lag": bench_lag,
    "delete": bench_delete,
    "reindex": bench_reindex,
    "reindex-load": bench_reindex_load,
    "benchmarks": bench_benchmarks,
    "cranfield": bench_cranfield,
    "projection-speed": bench_projection_speed,
    "projection-large": bench_projection_large,
    "projection-million": bench_projection_million,
    "projection-stability": bench_projection_stability,
}
BESIDE = {"overhead": overhead.SYSTEMS, "recovery": recovery.SYSTEMS, "side-by-side": side_by_side.SYSTEMS}
"""Benchmarks of several systems, and the prefixes of their figures: a column of the table each."""

ON_REQUEST = {"side-by-side", "cranfield", "projection-speed", "projection-large", "projection-million"}
"""Not among those that run when none is named, for they need more than is installed, or take very long."""


async def run(names: list[str]) -> dict[str, Figures]:
    """Each benchmark on a stack of its own."""
    results: dict[str, Figures] = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="vecloom-bench-") as folder:
            async with opened(Path(folder)) as bench:
                results[name] = await BENCHES[name](bench)
    return results


def main() -> None:
    """Run all or one."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--only", choices=sorted(BENCHES))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    log_to_stderr("WARNING")
    results = asyncio.run(
        run([arguments.only] if arguments.only else [name for name in BENCHES if name not in ON_REQUEST])
    )
    if arguments.json:
        sys.stdout.write(orjson.dumps(results).decode() + "\n")
    else:
        show(results, BESIDE)


if __name__ == "__main__":
    main()
