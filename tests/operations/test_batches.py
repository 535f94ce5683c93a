"""Many callers, one round trip."""

import asyncio
from collections.abc import Sequence

import pytest

from app.operations.batches import Batches


class Work:
    """Doubles numbers, as many as it is given at once, when it is let."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.let = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        """One call."""
        self.calls.append(list(items))
        await self.let.wait()
        if 13 in items:
            raise ValueError("13")
        return [item * 2 for item in items]


async def test_who_comes_meanwhile_shares_the_next_call() -> None:
    """The first caller waits for nobody; those that come while its call is under way share one."""
    work = Work()
    batches = Batches(work)

    first = asyncio.create_task(batches(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = [asyncio.create_task(batches(number)) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    work.let.set()

    assert [await first, *[await task for task in later]] == [2, 4, 6, 8]
    assert work.calls == [[1], [2, 3, 4]]


async def test_a_call_is_not_larger_than_allowed() -> None:
    """More callers than fit are served in several calls, each with its own results."""
    work = Work()
    work.let.set()
    batches = Batches(work, most=2)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(batches(number)) for number in range(5)]

    assert [task.result() for task in tasks] == [0, 2, 4, 6, 8]
    assert max(len(call) for call in work.calls) == 2


async def test_an_error_reaches_its_own_callers_alone() -> None:
    """A call that fails fails those in it, and the next one works."""
    work = Work()
    work.let.set()
    batches = Batches(work)

    with pytest.raises(ValueError, match="13"):
        await batches(13)

    assert await batches(1) == 2


async def test_a_cancelled_caller_does_not_stop_the_call() -> None:
    """What was begun for several goes on when one of them leaves."""
    work = Work()
    batches = Batches(work)
    stays, leaves = asyncio.create_task(batches(1)), asyncio.create_task(batches(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    leaves.cancel()
    work.let.set()

    assert await stays == 2
    assert work.calls == [[1, 2]]
    with pytest.raises(asyncio.CancelledError):
        await leaves
