"""Time until a pool is usable again after a child was killed: ``python -m benchmarks.replacement``.

``asked at once`` is the next call right after the kill, which is what every next call waits for when a child is started
by the call that needs it. ``asked later`` is a call after a pause, ``two slots`` a call right after the kill in a pool
with another child: both find a child that is ready.
"""

import asyncio
import os
import signal
import statistics
import sys
import time

from app.bootstrap import PRELOAD
from app.logs import log_to_stderr
from app.processes.pool import ProcessPool
from app.processes.reaper import follow

ROUNDS = 5
PAUSE_SECONDS = 4.0
MEMORY_BYTES = 4 * 2**30


async def measure_next_call(*, slots: int, pause_seconds: float) -> float:
    """Median milliseconds of the first call after all is ready, one child was killed and a pause."""
    pool = ProcessPool(slots, memory_bytes=MEMORY_BYTES, preload=PRELOAD)
    times = []
    try:
        for _ in range(ROUNDS):
            await pool.run(follow, (), timeout_seconds=60)
            await asyncio.sleep(PAUSE_SECONDS)
            killed = pool.pids[0]
            os.kill(killed, signal.SIGKILL)
            while killed in pool.pids:  # noqa: ASYNC110 — the end of a process sets no event here
                await asyncio.sleep(0.001)
            await asyncio.sleep(pause_seconds)
            begun = time.perf_counter()
            await pool.run(follow, (), timeout_seconds=60)
            times.append((time.perf_counter() - begun) * 1000)
    finally:
        await pool.aclose()
    return statistics.median(times)


async def main() -> None:
    """One line a case."""
    for name, slots, pause in (
        ("one slot, asked at once", 1, 0.0),
        ("one slot, asked 4 s later", 1, PAUSE_SECONDS),
        ("two slots, asked at once", 2, 0.0),
    ):
        sys.stdout.write(f"{name}: {await measure_next_call(slots=slots, pause_seconds=pause):.1f} ms\n")


if __name__ == "__main__":
    log_to_stderr("WARNING")
    asyncio.run(main())
