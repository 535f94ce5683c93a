"""Benchmarks of ingestion."""

from benchmarks.bench import Bench
from benchmarks.limit import bench_limit


async def test_the_limit_is_measured_on_the_same_work(bench: Bench) -> None:
    """Vecloom and the bare libraries make the same chunks, and it is told where the time went."""
    figures = await bench_limit(bench, files=40, rounds=1)

    assert 0 < float(figures["ratio_to_bare"]) < 2
    assert float(figures["chunks"]) >= 40
    assert float(figures["bare_chunks_per_second"]) > 0
    assert float(figures["libraries_own_calls_chunks_per_second"]) > 0
    assert float(figures["cpu_worker_children_seconds"]) > 0
    assert float(figures["busy_extract_seconds"]) > 0
