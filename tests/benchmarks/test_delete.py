"""The benchmark of a deletion, on a small collection: what it promises holds at any size."""

from app.settings import Settings
from benchmarks.bench import Bench
from benchmarks.delete import bench_delete

CHUNKS = 4000
MOST_GROWTH_MIB = 100


async def test_collection_is_deleted_under_a_running_append(bench: Bench, settings: Settings) -> None:
    """It is out of sight with the answer, its writer is cancelled, nothing is left, and the worker does not grow."""
    figures = await bench_delete(bench, chunks=CHUNKS, appended=4000)

    assert float(figures["chunks"]) > CHUNKS
    assert float(figures["points"]) >= float(figures["chunks"])
    assert figures["rows_and_points_left"] == 0
    assert float(figures["worker_peak_mib_meanwhile"]) < float(figures["worker_mib_before"]) + MOST_GROWTH_MIB
