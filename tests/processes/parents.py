"""Processes with a pool that end in every way a process can end: ``python -m tests.processes.parents WAY FOLDER``.

Each starts two children, of which one is in a call and has started a process of its own, and tells the ids of all.
"""

import asyncio
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from app.processes.pool import ProcessPool
from tests.processes import calls
from tests.processes.observed import find_children, read_pid

FOR_EVER = 3600
TASKS: set[asyncio.Task[None]] = set()


async def _start(folder: Path) -> ProcessPool:
    """A pool in the middle of its work."""
    pool = ProcessPool(2, memory_bytes=2**32)
    await pool.start()
    TASKS.add(asyncio.create_task(pool.run(calls.hang_with_grandchild, str(folder / "pid"), timeout_seconds=FOR_EVER)))
    grandchild = await read_pid(folder / "pid")
    _tell([*sorted(find_children(os.getpid())), grandchild])
    return pool


def _tell(pids: list[int]) -> None:
    sys.stdout.write(json.dumps(pids) + "\n")
    sys.stdout.flush()


async def _return(folder: Path) -> None:
    pool = await _start(folder)
    assert pool.pids


async def _raise(folder: Path) -> None:
    await _start(folder)
    raise RuntimeError("an end that nobody planned")


async def _exit(folder: Path) -> None:
    await _start(folder)
    sys.exit(3)


async def _exit_at_once(folder: Path) -> None:
    await _start(folder)
    os._exit(4)


async def _wait(folder: Path) -> None:
    pool = await _start(folder)
    await asyncio.sleep(FOR_EVER)
    assert pool.pids


async def _close_in_order(folder: Path) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    pool = await _start(folder)
    await ended.wait()
    await pool.aclose()


def run_and_live_on(folder: Path) -> None:
    """The event loop ends, the process does not, and the pool is still held."""
    held: list[ProcessPool] = []

    async def main() -> None:
        held.append(await _start(folder))

    asyncio.run(main())
    time.sleep(FOR_EVER)


def close_loop_and_live_on(folder: Path) -> None:
    """The event loop is closed in the middle of everything, and the pool is forgotten."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    loop.run_until_complete(_start(folder))
    loop.close()
    TASKS.clear()
    del loop
    gc.collect()
    time.sleep(FOR_EVER)


WAYS: dict[str, Callable[[Path], None]] = {
    "returns": lambda folder: asyncio.run(_return(folder)),
    "raises": lambda folder: asyncio.run(_raise(folder)),
    "exits": lambda folder: asyncio.run(_exit(folder)),
    "exits_at_once": lambda folder: asyncio.run(_exit_at_once(folder)),
    "waits": lambda folder: asyncio.run(_wait(folder)),
    "closes_in_order": lambda folder: asyncio.run(_close_in_order(folder)),
    "loop_ends": run_and_live_on,
    "loop_is_closed": close_loop_and_live_on,
}


if __name__ == "__main__":
    WAYS[sys.argv[1]](Path(sys.argv[2]))
