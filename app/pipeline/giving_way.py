"""Work that nobody waits for gives way to searches: the more people search, the longer it rests between its pieces."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from app.db.database import Database
from app.db.search_health import SearchHealthRepository

LOOK_SECONDS = 1.0
"""Searches are counted within about a second."""
SEARCH_SECONDS = 0.005
"""What a search takes of a processor, with the stores' part; measured with `make bench ONLY=reindex-load`."""
LITTLE = 0.02
"""So little of the processors as searches may take before anything gives way to them."""
REST = 6.0
MOST_REST = 3.0
"""A piece of work is followed by a rest this many times as long for each processor that searches take, at most."""
LONGEST_PAUSE_SECONDS = 3.0
FEWEST_SECONDS = 5.0
"""Of a minute, to judge by it how much people search."""
DECAY = 0.5
"""Of what was searched a look ago, so much is believed now if fewer are counted: they come in batches."""


@dataclass(slots=True)
class GivingWay:
    """Knows how much people search, in any collection: they share the stores.

    Attributes:
        look_seconds: how old what is known may be.
        processors: how many the machine has.
    """

    look_seconds: float = LOOK_SECONDS
    processors: int = field(default_factory=lambda: os.cpu_count() or 1)
    _looked_at: float | None = field(default=None, init=False)
    _minutes: dict[datetime, int] = field(default_factory=dict, init=False)
    _rate: float = field(default=0.0, init=False)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    @property
    def rest(self) -> float:
        """How long a piece of work is rested after, as a multiple of what it took; 0 if people search little."""
        share = self._rate * SEARCH_SECONDS / self.processors
        return min(MOST_REST, REST * share) if share > LITTLE else 0.0

    async def look(self, database: Database) -> None:
        """Count the searches since the last look, if that was a while ago; at first, those of a minute or two."""
        async with self._looking:
            now = time.monotonic()
            before = self._looked_at
            if before is not None and now - before < self.look_seconds:
                return
            async with database.single() as connection:
                counted = await SearchHealthRepository(connection).count_minutes()
            self._looked_at = now
            if before is None:
                rate = max(count / max(seconds, FEWEST_SECONDS) for count, seconds in counted.values())
            else:
                new = sum(max(0, count - self._minutes.get(minute, 0)) for minute, (count, _) in counted.items())
                rate = new / (now - before)
            self._minutes = {minute: count for minute, (count, _) in counted.items()}
            self._rate = max(rate, self._rate * DECAY)

    async def find_share(self, database: Database, at_once: int) -> int:
        """How many questions may be asked at once now, of as many as may be if nobody else asks."""
        await self.look(database)
        return 1 if self.rest else at_once

    async def pause(self, seconds: float, *, most: float = MOST_REST) -> None:
        """Rest after work that took so long, ``most`` times as long at most."""
        if self.rest:
            await asyncio.sleep(min(seconds * min(self.rest, most), LONGEST_PAUSE_SECONDS))

    @asynccontextmanager
    async def turn(self, database: Database, *, is_hurried: Callable[[], bool] = lambda: False) -> AsyncIterator[None]:
        """A piece of work: at once with others while people search little, else after them, with a rest at the end.

        There is no rest once ``is_hurried`` says so.
        """
        await self.look(database)
        if not self.rest:
            yield
            return
        async with self._turn:
            started = time.monotonic()
            yield
            if not is_hurried():
                await self.pause(time.monotonic() - started)
