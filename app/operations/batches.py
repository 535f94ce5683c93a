"""Many callers, one round trip."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Round(Generic[Item, Result]):
    def __init__(self) -> None:
        self.items: list[Item] = []
        self.done: asyncio.Future[Sequence[Result]] = asyncio.get_running_loop().create_future()
        # a round whose callers have all been cancelled fails for nobody
        self.done.add_done_callback(lambda done: done.cancelled() or done.exception())


class Batches(Generic[Item, Result]):
    """Calls ``work`` with the items of all callers that came while the call before was under way.

    A caller alone waits for nobody. A call that was begun goes on when its callers are cancelled.

    Args:
        work: gives one result for each item, in their order; what it raises, every caller of the round gets.
        most: items of one call.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, most: int = 500) -> None:
        self._work = work
        self._most = most
        self._rounds: list[_Round[Item, Result]] = []
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """The result for this item."""
        if not self._rounds or len(self._rounds[-1].items) >= self._most:
            self._rounds.append(_Round())
        mine = self._rounds[-1]
        place = len(mine.items)
        mine.items.append(item)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work_on())
        results = await asyncio.shield(mine.done)
        return results[place]

    async def _work_on(self) -> None:
        try:
            while self._rounds:
                mine = self._rounds.pop(0)
                try:
                    mine.done.set_result(await self._work(mine.items))
                except Exception as error:  # noqa: BLE001 — whatever it is, the callers get it
                    mine.done.set_exception(error)
        finally:
            self._worker = None
            for left in self._rounds:
                left.done.cancel()
            self._rounds.clear()
