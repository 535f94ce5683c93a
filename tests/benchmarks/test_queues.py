"""Benchmarks of Vecloom beside other queues."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from benchmarks.bench import Bench
from benchmarks.overhead import SYSTEMS, Sizes, all_systems, measure
from benchmarks.recovery import measure_takeover
from benchmarks.systems import Figures, System
from benchmarks.vecloom import Vecloom

FIGURES = (
    "start_p50_ms",
    "start_p99_ms",
    "per_second",
    "backlog_per_second",
    "idle_redis_commands_per_second",
    "cpu_ms_per_operation",
    "creator_cpu_ms_per_operation",
)


async def test_overhead_is_measured_for_every_system(bench: Bench) -> None:
    """Vecloom and the others run real jobs in worker processes of their own, and all have the same figures."""
    sizes = Sizes(starts=2, idle_seconds=0.1, jobs=6, creators=2)
    systems = [system for system in all_systems(bench) if system.name != "arq100"]  # as arq, but for a number
    measured: dict[str, Figures] = {}

    async def measure_one(system: System, redis: Redis) -> None:
        async with system:
            measured[system.name] = await measure(system, sizes, redis)

    async with Redis.from_url(bench.parts.endpoints.redis_url) as redis, asyncio.TaskGroup() as group:
        for system in systems:
            group.create_task(measure_one(system, redis))

    assert measured.keys() == set(SYSTEMS) - {"arq100"}
    for figures in measured.values():
        assert set(FIGURES) <= figures.keys()
        assert 0 < float(figures["start_p50_ms"]) <= float(figures["start_p99_ms"])
        assert float(figures["per_second"]) > 0
    vecloom = measured["vecloom"]
    assert 0 < float(vecloom["commit_to_start_p50_ms"]) < float(vecloom["start_p50_ms"])
    assert vecloom["run_twice"] == 0


@pytest.mark.parametrize("fault", ["kill", "partition"])
async def test_a_takeover_is_measured(bench: Bench, tmp_path: Path, fault: str) -> None:
    """The job starts in the other worker, also when the first one lives on behind a cut network."""
    async with Vecloom(bench, tmp_path / fault) as system:
        await system.add_collections(1)
        seconds = await measure_takeover(system, fault)
        first, second = system.log.read()

    assert seconds is not None
    assert seconds > 0
    assert first.key == second.key
    assert first.pid != second.pid
