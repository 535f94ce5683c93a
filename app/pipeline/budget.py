"""A bound on bytes in flight between stages."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """Lets work in while its bytes fit; waiters are served in order, so a large one is not starved."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def used(self) -> int:
        """Bytes in flight now."""
        return self._used

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Hold ``size`` bytes for the length of the block; more than the limit counts as the limit."""
        size = min(size, self._limit)
        await self._acquire(size)
        try:
            yield
        finally:
            self._used -= size
            self._wake()

    async def _acquire(self, size: int) -> None:
        if not self._waiting and self._used + size <= self._limit:
            self._used += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._used -= size
            self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
                continue
            if self._used + size > self._limit:
                return
            self._waiting.popleft()
            self._used += size
            turn.set_result(None)
