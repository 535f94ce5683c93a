"""No child, and nothing a child started, outlives its pool, however the pool ends."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.domain.errors import DomainError, ProcessUnavailableError
from app.processes.pool import ProcessPool
from tests.harness import wait_until
from tests.processes import calls
from tests.processes.observed import find_children, is_alive, is_reaper, read_pid, wait_until_gone

GIB = 2**30


@asynccontextmanager
async def parent(way: str, folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[int]]]:
    """A process with a pool, and the ids of all below it: two children, a reaper, a grandchild."""
    command = [sys.executable, "-m", "tests.processes.parents", way, str(folder)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        yield process, json.loads(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("way", ["returns", "raises", "exits", "exits_at_once"])
async def test_a_process_that_ends_by_itself_leaves_nothing(way: str, tmp_path: Path) -> None:
    """Whether it returns, fails or exits, in the middle of calls and without closing its pool."""
    async with parent(way, tmp_path) as (process, below):
        await process.wait()

        assert len(below) == 4
        await wait_until_gone(*below)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_process_ended_by_a_signal_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    """Also kill -9, which gives nobody a chance to clean up."""
    async with parent("waits", tmp_path) as (process, below):
        process.send_signal(number)
        await process.wait()

        assert len(below) == 4
        await wait_until_gone(*below)


async def test_a_killed_process_leaves_nothing_though_its_reaper_was_killed_before(tmp_path: Path) -> None:
    """The next child brings a new reaper, which knows all the groups."""
    async with parent("waits", tmp_path) as (process, below):
        children, grandchild = below[:-1], below[-1]
        reapers = [pid for pid in children if is_reaper(pid)]
        idle = [pid for pid in children if pid not in reapers and not find_children(pid)]
        for pid in reapers:
            os.kill(pid, signal.SIGKILL)
        await wait_until_gone(*reapers)
        os.kill(idle[0], signal.SIGKILL)

        async def replaced() -> set[int]:
            fresh = find_children(process.pid) - set(below)
            return fresh if len(fresh) == 2 else set()

        fresh = await wait_until(replaced)
        process.kill()
        await process.wait()

        await wait_until_gone(grandchild, *children, *fresh)


async def test_a_process_that_closes_in_order_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM, handled as a worker handles it."""
    async with parent("closes_in_order", tmp_path) as (process, below):
        process.terminate()
        status = await process.wait()

        assert status == 0
        await wait_until_gone(*below)


@pytest.mark.parametrize("way", ["loop_ends", "loop_is_closed"])
async def test_children_end_with_their_event_loop(way: str, tmp_path: Path) -> None:
    """Though the process lives on and never closed its pool."""
    async with parent(way, tmp_path) as (process, below):
        workers = [pid for pid in below if not is_reaper(pid)]

        await wait_until_gone(*workers)

        assert len(workers) == 3
        assert process.returncode is None


async def test_closing_in_the_middle_of_calls_ends_them(tmp_path: Path) -> None:
    """Calls in a child and calls that wait for one fail at once, and no process is left."""
    before = find_children(os.getpid())
    pool = ProcessPool(1, memory_bytes=4 * GIB)
    working = asyncio.create_task(pool.run(calls.hang_with_grandchild, str(tmp_path / "pid"), timeout_seconds=600))
    grandchild = await read_pid(tmp_path / "pid")
    waiting = asyncio.create_task(pool.run(calls.add, 1, 1, timeout_seconds=600))
    await asyncio.sleep(0)

    await pool.aclose()
    outcomes = await asyncio.gather(working, waiting, return_exceptions=True)

    assert all(isinstance(outcome, DomainError) for outcome in outcomes)
    assert find_children(os.getpid()) <= before
    await wait_until_gone(grandchild)


async def test_closing_in_the_middle_of_starts_leaves_nothing() -> None:
    """Children that still import when their pool is closed are gone after it."""
    before = find_children(os.getpid())
    pool = ProcessPool(3, memory_bytes=4 * GIB, preload=["app.pipeline.prepare"])
    await pool.start()
    children = pool.pids

    await pool.aclose()

    assert len(children) == 3
    assert not any(is_alive(pid) for pid in children)
    assert find_children(os.getpid()) <= before


async def test_closing_in_the_middle_of_replacements_leaves_nothing() -> None:
    """Replacements of children that were just killed are gone too, whenever in their start it happens."""
    before = find_children(os.getpid())
    for delay in range(6):
        pool = ProcessPool(2, memory_bytes=4 * GIB)
        await pool.run(calls.add, 1, 1, timeout_seconds=60)
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(delay * 0.01)

        await pool.aclose()

        assert find_children(os.getpid()) <= before


@pytest.mark.parametrize("steps", [2, 3, 4])
async def test_a_cancelled_start_leaves_nothing(steps: int) -> None:
    """Who was not told of a started pool need not close it."""
    before = find_children(os.getpid())
    pool = ProcessPool(8, memory_bytes=4 * GIB)
    starting = asyncio.create_task(pool.start())
    for _ in range(steps):
        await asyncio.sleep(0)
    begun = pool.pids

    assert starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert 0 < len(begun) < 8
    assert find_children(os.getpid()) <= before


async def test_a_closed_pool_takes_no_calls() -> None:
    """It says so instead of starting a child."""
    pool = ProcessPool(1, memory_bytes=4 * GIB)
    await pool.aclose()
    await pool.aclose()

    with pytest.raises(ProcessUnavailableError):
        await pool.run(calls.add, 1, 1, timeout_seconds=60)

    assert pool.pids == []


async def test_what_a_crashed_child_started_ends_with_it(tmp_path: Path) -> None:
    """The group of a child is killed before the pool goes on."""
    pool = ProcessPool(1, memory_bytes=4 * GIB)
    try:
        with pytest.raises(DomainError, match="SIGSEGV"):
            await pool.run(calls.crash_with_grandchild, str(tmp_path / "pid"), timeout_seconds=60)

        await wait_until_gone(await read_pid(tmp_path / "pid"))
    finally:
        await pool.aclose()
