"""How soon an operation starts, and how many there are in a second, one after the other."""

import statistics
import time

from sqlalchemy import text

from app.bootstrap import running_worker
from benchmarks.bench import Bench
from benchmarks.systems import Figures

OPERATIONS = 200


async def bench_queue(bench: Bench) -> Figures:
    """Enqueue to start on an idle worker, and whole operations a second."""
    empty = bench.folder / "empty"
    empty.mkdir()
    async with running_worker(bench.parts):
        await bench.index("queue", empty)
        collection_id = await bench.find_collection("queue")
        source_id = await bench.find_source(collection_id)
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
