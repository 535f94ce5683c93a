"""The process pool."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.domain.errors import ProcessDiedError, ProcessTimeoutError
from app.processes.pool import ProcessPool
from tests.harness import wait_until
from tests.processes import calls
from tests.processes.observed import is_alive, read_pid, wait_until_gone

GIB = 2**30


@pytest.fixture
def ends() -> list[str]:
    """Reasons for which children of ``pool`` were replaced."""
    return []


@pytest.fixture
async def pool(ends: list[str]) -> AsyncIterator[ProcessPool]:
    """Two slots."""
    opened = ProcessPool(2, memory_bytes=4 * GIB, on_end=ends.append)
    yield opened
    await opened.aclose()


async def said(ends: list[str]) -> list[str]:
    """The reasons so far."""
    return ends


async def test_a_call_gives_its_result(pool: ProcessPool) -> None:
    """Arguments and result travel, and what the child prints does not disturb them."""
    assert await pool.run(calls.add, 2, 3, timeout_seconds=30) == 5
    assert await pool.run(calls.pid, timeout_seconds=30) != os.getpid()


async def test_an_exception_keeps_its_type(pool: ProcessPool) -> None:
    """The caller sees what the function raised."""
    with pytest.raises(ValueError, match="bad thing"):
        await pool.run(calls.fail, "bad thing", timeout_seconds=30)


async def test_a_call_over_its_time_is_killed(pool: ProcessPool, ends: list[str]) -> None:
    """The child of a hung call dies, and its slot works again."""
    await pool.start()
    before = set(pool.pids)

    with pytest.raises(ProcessTimeoutError):
        await pool.run(calls.hang, timeout_seconds=0.5)

    assert sum(is_alive(pid) for pid in before) == 1
    assert await pool.run(calls.add, 1, 1, timeout_seconds=30) == 2
    assert ends == ["timeout"]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
async def test_a_crash_costs_one_call(pool: ProcessPool, ends: list[str], number: signal.Signals) -> None:
    """A child that dies in native code, or of the kernel's want of memory, fails its own call and says how."""
    with pytest.raises(ProcessDiedError, match=number.name):
        await pool.run(calls.kill_self, number, timeout_seconds=30)

    assert await pool.run(calls.add, 1, 1, timeout_seconds=30) == 2
    assert ends == ["crashed"]


async def test_memory_that_runs_out_in_native_code_is_a_crash(pool: ProcessPool) -> None:
    """Native code that does not ask whether it got memory dies by a signal, and the error names it."""
    with pytest.raises(ProcessDiedError, match=r"SIGSEGV.*want of memory"):
        await pool.run(calls.exhaust_memory_natively, 8 * GIB, timeout_seconds=30)

    assert await pool.run(calls.add, 1, 1, timeout_seconds=30) == 2


@pytest.mark.parametrize(
    "work", [calls.hang_after_telling, calls.block_in_native_code, calls.block_in_a_read, calls.stop_self]
)
async def test_cancelling_a_caller_kills_its_child(
    pool: ProcessPool, ends: list[str], tmp_path: Path, work: Callable[[str], None]
) -> None:
    """A cancelled call leaves no process working for nobody, whatever the process does."""
    task = asyncio.create_task(pool.run(work, str(tmp_path / "pid"), timeout_seconds=600))
    child = await read_pid(tmp_path / "pid")

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not is_alive(child)
    assert await wait_until(lambda: said(ends)) == ["cancelled"]


async def test_cancelling_a_caller_kills_what_its_child_started(pool: ProcessPool, tmp_path: Path) -> None:
    """A process of a library in the child ends with it."""
    task = asyncio.create_task(pool.run(calls.hang_with_grandchild, str(tmp_path / "pid"), timeout_seconds=600))
    grandchild = await read_pid(tmp_path / "pid")

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await wait_until_gone(grandchild)


async def test_a_caller_cancelled_while_it_waits_takes_no_child_with_it(pool: ProcessPool, tmp_path: Path) -> None:
    """The child it would have got serves the next call."""
    hanging = [
        asyncio.create_task(pool.run(calls.hang_after_telling, str(tmp_path / name), timeout_seconds=600))
        for name in ("a", "b")
    ]
    busy = [await read_pid(tmp_path / name) for name in ("a", "b")]
    waiting = asyncio.create_task(pool.run(calls.pid, timeout_seconds=600))
    await asyncio.sleep(0)

    waiting.cancel()
    hanging[0].cancel()
    await asyncio.wait([waiting, hanging[0]])

    assert await pool.run(calls.pid, timeout_seconds=60) not in busy
    assert is_alive(busy[1])
    hanging[1].cancel()
    await asyncio.wait(hanging)


async def test_memory_of_a_child_is_bounded() -> None:
    """An allocation beyond the limit fails in the child, not on the machine, and the next call has a fresh child."""
    ends: list[str] = []
    pool = ProcessPool(1, memory_bytes=GIB, on_end=ends.append)
    try:
        with pytest.raises(MemoryError):
            await pool.run(calls.eat_memory, 2 * GIB, timeout_seconds=30)

        assert await pool.run(calls.add, 1, 1, timeout_seconds=30) == 2
        assert ends == ["recycled_memory"]
    finally:
        await pool.aclose()


async def test_closing_leaves_no_child(pool: ProcessPool) -> None:
    """Every child is gone after aclose."""
    await pool.start()
    children = pool.pids

    await pool.aclose()

    assert not any(is_alive(pid) for pid in children)


async def test_what_would_end_a_process_is_an_ordinary_error_here(pool: ProcessPool) -> None:
    """A call that raises SystemExit fails; it does not end whoever asked for it."""
    with pytest.raises(RuntimeError, match="SystemExit"):
        await pool.run(calls.leave, timeout_seconds=30)
