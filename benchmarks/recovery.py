"""How soon work goes on elsewhere: the worker that executes a job is hit, a second one is idle."""

import asyncio
import random
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from benchmarks.rivals.arq_plain import ArqPlain
from benchmarks.rivals.celery_plain import CeleryPlain
from benchmarks.rivals.saq_plain import SaqPlain
from benchmarks.starts import WAIT, Start
from benchmarks.systems import Figures, System, Worker, socket_of, wait_for
from benchmarks.vecloom import Vecloom

if TYPE_CHECKING:
    from benchmarks.bench import Bench

SYSTEMS = ("vecloom", "arq", "saq", "celery")
FAULTS: dict[str, Callable[[Worker], None]] = {
    "kill": lambda worker: worker.send(signal.SIGKILL),
    "terminate": lambda worker: worker.send(signal.SIGTERM),
    "freeze": lambda worker: worker.send(signal.SIGSTOP),
    "partition": Worker.cut_off,
}
REPETITIONS = {"kill": 10, "terminate": 10, "freeze": 5, "partition": 5}
CAP_SECONDS = 90.0
LONGEST_WAIT_SECONDS = 5.0
"""The fault comes at any time within one heartbeat after the start."""

CLEAR_SECONDS = 60.0


async def bench_recovery(bench: "Bench") -> Figures:
    """Once for each other system, all at the same time for they mostly wait; then Vecloom alone, again and again."""
    rivals = await measure_rivals(bench)
    figures: Figures = {"vecloom_configuration": Vecloom.configuration}
    for name in FAULTS:
        seconds = []
        for turn in range(REPETITIONS[name]):
            async with Vecloom(bench, bench.folder / f"vecloom-{name}-{turn}") as system:
                await system.add_collections(1)
                seconds.append(await measure_takeover(system, name))
        figures |= _summary(f"vecloom_{name}", seconds)
    return figures | rivals


async def measure_rivals(bench: "Bench") -> Figures:
    """Every fault for every other system. None comes before all workers have started."""
    socket = socket_of(bench.parts.endpoints.redis_url)
    kinds: Sequence[type[ArqPlain | SaqPlain | CeleryPlain]] = (ArqPlain, SaqPlain, CeleryPlain)
    systems: dict[tuple[str, str], System] = {}
    for name in FAULTS:
        for kind in kinds:
            database = len(systems) + 1
            system = kind(bench.folder / f"rival-{database}", socket=socket, database=database)
            systems[system.name, name] = system
    barrier = asyncio.Barrier(len(systems))

    async def measure(system: System, fault: str) -> float | None:
        async with system:
            return await measure_takeover(system, fault, barrier=barrier)

    async with asyncio.TaskGroup() as group:
        tasks = {key: group.create_task(measure(system, key[1])) for key, system in systems.items()}
    figures: Figures = {f"{rival}_configuration": system.configuration for (rival, _), system in systems.items()}
    for (rival, name), task in tasks.items():
        figures |= _summary(f"{rival}_{name}", [task.result()])
    return figures


async def measure_takeover(system: System, fault: str, *, barrier: asyncio.Barrier | None = None) -> float | None:
    """Seconds from the fault to the next start of the job's body in the other worker; None if not in time."""
    async with system.workers(WAIT, 2, can_be_cut_off=fault == "partition") as workers:
        if barrier is not None:
            await barrier.wait()
        await system.create()
        await wait_for(f"a start of {system.name}", lambda: bool(system.log.read()), seconds=CAP_SECONDS)
        victim = _find_owner(workers, system.log.read()[0])
        await asyncio.sleep(random.uniform(0, LONGEST_WAIT_SECONDS))
        sent = time.monotonic_ns()
        FAULTS[fault](victim)
        start = await _wait_for_start(lambda: _find_start_elsewhere(system, victim), seconds=CAP_SECONDS)
        victim.close()
        system.log.release()
        if isinstance(system, Vecloom):
            await system.wait_until_finished(1, seconds=CLEAR_SECONDS)
    return None if start is None else (start.at_ns - sent) / 1e9


def _find_owner(workers: Sequence[Worker], start: Start) -> Worker:
    for worker in workers:
        if worker.owns(start.pid):
            return worker
    raise RuntimeError(f"process {start.pid} belongs to no worker")


def _find_start_elsewhere(system: System, victim: Worker) -> Start | None:
    starts = [start for start in system.log.read() if not victim.owns(start.pid)]
    return starts[0] if starts else None


async def _wait_for_start(find: Callable[[], Start | None], *, seconds: float) -> Start | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        start = find()
        if start is not None:
            return start
        await asyncio.sleep(0.02)
    return None


def _summary(name: str, seconds: Sequence[float | None]) -> Figures:
    """Median and maximum; a time beyond the cap is larger than any other."""
    known = sorted(float("inf") if value is None else value for value in seconds)
    return {
        f"{name}_median_seconds": _shown(statistics.median(known)),
        f"{name}_max_seconds": _shown(known[-1]),
        f"{name}_repetitions": len(known),
    }


def _shown(seconds: float) -> float | str:
    return f"> {CAP_SECONDS:.0f}" if seconds > CAP_SECONDS else round(seconds, 3)
