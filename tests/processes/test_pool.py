"""The process pool."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import pytest

from app.domain.errors import ProcessDiedError, ProcessTimeoutError
from app.processes.pool import ProcessPool
from tests.harness import wait_until
from tests.processes import calls

GIB = 2**30


@pytest.fixture
async def pool() -> AsyncIterator[ProcessPool]:
    """Two slots."""
    opened = ProcessPool(2, memory_bytes=4 * GIB)
    yield opened
    await opened.aclose()


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 — a file of the kernel
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_call_gives_its_result(pool: ProcessPool) -> None:
    """Arguments and result travel, and what the child prints does not disturb them."""
    assert await pool.run(calls.add, 2, 3, timeout_seconds=30) == 5
    assert await pool.run(calls.pid, timeout_seconds=30) != os.getpid()


async def test_an_exception_keeps_its_type(pool: ProcessPool) -> None:
    """The caller sees what the function raised."""
    with pytest.raises(ValueError, match="bad thing"):
        await pool.run(calls.fail, "bad thing", timeout_seconds=30)


async def test_a_call_over_its_time_is_killed(pool: ProcessPool) -> None:
    """The child of a hung call dies, and its slot works again."""
    await pool.start()
    before = set(pool.pids)

    with pytest.raises(ProcessTimeoutError):
        await pool.run(calls.hang, timeout_seconds=0.5)

    assert sum(is_alive(pid) for pid in before) == 1
    assert await pool.run(calls.add, 1, 1, timeout_seconds=30) == 2


async def test_a_crash_costs_one_call(pool: ProcessPool) -> None:
    """A child that dies in native code fails its own call only."""
    with pytest.raises(ProcessDiedError):
        await pool.run(calls.die, timeout_seconds=30)

    assert await pool.run(calls.add, 1, 1, timeout_seconds=30) == 2


async def test_cancelling_a_caller_kills_its_child(pool: ProcessPool) -> None:
    """A cancelled call leaves no process working for nobody."""
    task = asyncio.create_task(pool.run(calls.hang, timeout_seconds=60))

    async def started() -> list[int]:
        return pool.pids

    child = (await wait_until(started))[0]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not is_alive(child)


async def test_memory_of_a_child_is_bounded() -> None:
    """An allocation beyond the limit fails in the child, not on the machine."""
    pool = ProcessPool(1, memory_bytes=GIB)
    try:
        with pytest.raises(MemoryError):
            await pool.run(calls.eat_memory, 2 * GIB, timeout_seconds=30)
    finally:
        await pool.aclose()


async def test_closing_leaves_no_child(pool: ProcessPool) -> None:
    """Every child is gone after aclose."""
    await pool.start()
    children = pool.pids

    await pool.aclose()

    assert not any(is_alive(pid) for pid in children)


async def test_children_do_not_outlive_a_killed_parent() -> None:
    """After kill -9 of the parent the kernel ends its children, even in the middle of a call."""
    code = (
        "import asyncio\n"
        "from app.processes.pool import ProcessPool\n"
        "from tests.processes import calls\n"
        "async def main():\n"
        "    pool = ProcessPool(1, memory_bytes=2**32)\n"
        "    await pool.start()\n"
        "    print(pool.pids[0], flush=True)\n"
        "    await pool.run(calls.hang, timeout_seconds=600)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert is_alive(child)

    parent.kill()
    await parent.wait()

    async def gone() -> bool:
        return not is_alive(child)

    assert await wait_until(gone)
