"""CPU seconds by kind of process: the worker's event loop, its children, Postgres, Valkey, the vector server."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

CpuSeconds = dict[str, float]


def read_cpu(workers: Sequence[int], servers: Mapping[str, int | None], *, this: bool = True) -> CpuSeconds:
    """User and system seconds since each process began; those of ended children count to their parent's kind.

    ``workers`` are process ids of worker processes: they alone are the event loops, what they started are the
    children. ``this`` adds the process that asks, which is the benchmark itself.
    """
    seconds = {"worker_loop": 0.0, "worker_children": 0.0}
    for pid in workers:
        seconds["worker_loop"] += _own(pid)
        seconds["worker_children"] += _with_descendants(pid) - _own(pid)
    for name, server in servers.items():
        if server is not None:
            seconds[name] = _with_descendants(server)
    if this:
        seconds["benchmark"] = _own(psutil.Process().pid)
    return seconds


def _own(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _with_descendants(pid: int) -> float:
    """Of a process, of all below it, and of those below it that have ended and were waited for."""
    total = 0.0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def difference(before: CpuSeconds, after: CpuSeconds) -> CpuSeconds:
    """What was used between two looks."""
    return {name: round(seconds - before.get(name, 0.0), 2) for name, seconds in after.items()}


def read_busy_share() -> tuple[float, float]:
    """Seconds of all cores of the machine, busy and in all; take the difference of two."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times[:8]) - idle), float(sum(times[:8]))
