"""Children are replaced in the background: worn out ones, killed ones, and ones that do not start."""

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest

from app.domain.errors import ProcessAnswerTooLargeError, ProcessUnavailableError
from app.processes.pool import ProcessPool
from tests.harness import wait_until
from tests.processes import calls
from tests.processes.observed import is_alive, read_pid

GIB = 2**30
MIB = 2**20


async def test_a_child_that_holds_too_much_memory_is_replaced() -> None:
    """After the call that made it grow, and not before: the answer arrives."""
    ends: list[str] = []
    pool = ProcessPool(1, memory_bytes=4 * GIB, recycle_bytes=200 * MIB, on_end=ends.append)
    try:
        first = await pool.run(calls.leak, 10 * MIB, timeout_seconds=60)
        second = await pool.run(calls.leak, 250 * MIB, timeout_seconds=60)
        third = await pool.run(calls.leak, MIB, timeout_seconds=60)

        assert first == second != third
        assert ends == ["recycled_memory"]
    finally:
        await pool.aclose()


async def test_a_child_is_replaced_after_its_number_of_calls() -> None:
    """So that small leaks stay small."""
    ends: list[str] = []
    pool = ProcessPool(1, memory_bytes=4 * GIB, recycle_after=2, on_end=ends.append)
    try:
        pids = [await pool.run(calls.pid, timeout_seconds=60) for _ in range(5)]

        assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
        assert ends == ["recycled_calls"] * 2
    finally:
        await pool.aclose()


async def test_a_killed_child_is_replaced_before_anybody_asks() -> None:
    """Also one that nobody used: the pool is whole again without a call."""
    ends: list[str] = []
    pool = ProcessPool(2, memory_bytes=4 * GIB, on_end=ends.append)
    try:
        await pool.start()
        before = set(pool.pids)
        killed = min(before)
        os.kill(killed, signal.SIGKILL)

        async def whole() -> bool:
            return len(pool.pids) == 2 and killed not in pool.pids

        await wait_until(whole)

        assert ends == ["crashed"]
        assert before & set(pool.pids)
    finally:
        await pool.aclose()


async def test_a_call_goes_to_a_child_that_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to one that still imports, however long that takes."""
    monkeypatch.setenv("VECLOOM_TEST_GATE", str(tmp_path / "gate"))
    pool = ProcessPool(2, memory_bytes=4 * GIB, preload=["tests.processes.gate:pass_once"])
    try:
        pids = {await pool.run(calls.pid, timeout_seconds=60) for _ in range(10)}

        assert len(pids) == 1
        assert len(pool.pids) == 2
    finally:
        await pool.aclose()


async def test_a_child_is_warm_before_its_first_call() -> None:
    """A function among the preloads was called."""
    pool = ProcessPool(1, memory_bytes=4 * GIB, preload=["tests.processes.calls:warm_up"])
    try:
        assert await pool.run(calls.is_warm, timeout_seconds=60)
    finally:
        await pool.aclose()


async def test_children_that_cannot_start_refuse_calls_and_cost_little() -> None:
    """A waiting call is told, and starts become rare instead of burning the CPU."""
    ends: list[str] = []
    pool = ProcessPool(1, memory_bytes=4 * GIB, preload=["app.there_is_no_such_module"], on_end=ends.append)
    try:
        with pytest.raises(ProcessUnavailableError, match="status 1"):
            await pool.run(calls.add, 1, 1, timeout_seconds=60)

        assert 3 <= len(ends) <= 4
        assert set(ends) == {"crashed"}
    finally:
        await pool.aclose()


async def test_a_listener_that_fails_costs_no_slot() -> None:
    """The pool goes on when its ``on_end`` raises."""

    def fail(reason: str) -> None:
        raise ValueError(reason)

    pool = ProcessPool(1, memory_bytes=4 * GIB, recycle_after=1, on_end=fail)
    try:
        pids = {await pool.run(calls.pid, timeout_seconds=60) for _ in range(3)}

        assert len(pids) == 3
    finally:
        await pool.aclose()


async def test_large_calls_and_answers_are_pickled_off_the_event_loop() -> None:
    """In a thread, and small ones at once on the loop's own."""
    pool = ProcessPool(1, memory_bytes=4 * GIB)
    try:
        here, small, large = threading.get_ident(), calls.Witness(), calls.Witness()
        small_back, _ = await pool.run(calls.answer_with, small, 1000, timeout_seconds=60)
        large_back, rows = await pool.run(calls.answer_with, calls.Witness(), 3 * MIB, timeout_seconds=60)
        counted = await pool.run(calls.count_bytes, b"x" * 3 * MIB, "y" * 5 * MIB, large, timeout_seconds=60)

        assert (small.pickled_on, small_back.unpickled_on) == (here, here)
        assert large.pickled_on != here != large_back.unpickled_on
        assert sum(map(len, rows)) == 3 * MIB // 1000 * 1000
        assert counted == 8 * MIB
    finally:
        await pool.aclose()


async def test_an_answer_beyond_the_limit_is_not_read() -> None:
    """The call fails with its own code, its child is killed, and the next call works."""
    ends: list[str] = []
    pool = ProcessPool(1, memory_bytes=4 * GIB, answer_max_bytes=MIB, on_end=ends.append)
    try:
        fits = await pool.run(calls.give_bytes, MIB - 1000, timeout_seconds=60)
        child = pool.pids[0]
        with pytest.raises(ProcessAnswerTooLargeError) as refused:
            await pool.run(calls.give_bytes, 64 * MIB, timeout_seconds=60)

        assert len(fits) == MIB - 1000
        assert refused.value.code == "process_answer_too_large"
        assert not is_alive(child)
        assert await pool.run(calls.add, 1, 1, timeout_seconds=60) == 2
        assert ends == ["answer_too_large"]
    finally:
        await pool.aclose()


async def test_calls_survive_a_pool_that_is_killed_again_and_again(tmp_path: Path) -> None:
    """Idle children die all the time, and yet a call that is given to a ready one is answered."""
    pool = ProcessPool(2, memory_bytes=4 * GIB)
    try:
        for round_number in range(5):
            task = asyncio.create_task(
                pool.run(calls.hang_after_telling, str(tmp_path / str(round_number)), timeout_seconds=600)
            )
            child = await read_pid(tmp_path / str(round_number))
            os.kill(child, signal.SIGKILL)
            await asyncio.wait([task])

            assert task.exception() is not None
            assert await pool.run(calls.pid, timeout_seconds=60) != child
    finally:
        await pool.aclose()
