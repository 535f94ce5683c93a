"""Searches go before writes, although both need the interpreter's lock."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import ClientDisconnect, Request


class Searches:
    """How many searches are under way, and what lets them go before writes."""

    TURN_SECONDS = 0.00005
    """Long enough for another thread to wake and take the interpreter's lock. The engine gives the lock up for a moment
    for each text, which wakes those who wait for it and is over before they run; so they never come to ask for it after
    the interval of switching, and searches waited up to 60 ms."""
    LONGEST_SECONDS = 0.005
    """A write waits no longer than that at a time, for there may always be another search."""

    def __init__(self) -> None:
        self._running = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """One more as long as the block runs; the event loop alone counts."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def give_way(self) -> None:
        """Wait for the searches that are under way, in a thread that writes."""
        deadline = time.monotonic() + self.LONGEST_SECONDS
        time.sleep(self.TURN_SECONDS)
        while self._running and time.monotonic() < deadline:
            time.sleep(self.TURN_SECONDS)


class Then:
    """What is left to do of a request, in a thread."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work

    async def do(self, request: Request) -> Any:
        """Do it, unless nobody waits for it any more: who went away may have deleted what it would write.

        Raises:
            ClientDisconnect: if the client has gone; nothing is done.
        """
        if await request.is_disconnected():
            raise ClientDisconnect
        return await asyncio.to_thread(self._work)
