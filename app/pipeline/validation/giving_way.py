"""A validation searches as much as hundreds of people do; while any do, it asks one by one and rests half the time."""

import asyncio
import time
from dataclasses import dataclass, field

from app.db.database import Database
from app.db.search_health import SearchHealthRepository

LOOK_SECONDS = 1.0
"""Searches are counted within about a second."""
LONGEST_PAUSE_SECONDS = 0.25


@dataclass(slots=True)
class GivingWay:
    """Knows whether people search, in any collection: they share the stores."""

    look_seconds: float = LOOK_SECONDS
    _looked_at: float = field(default=0.0, init=False)
    _counted: int | None = field(default=None, init=False)
    _is_searched: bool = field(default=False, init=False)

    async def find_share(self, database: Database, at_once: int) -> int:
        """How many questions may be asked at once now, of as many as may be if nobody else asks."""
        now = time.monotonic()
        if now - self._looked_at >= self.look_seconds:
            self._looked_at = now
            async with database.single() as connection:
                counted = await SearchHealthRepository(connection).count_recent()
            self._is_searched = self._counted is not None and counted != self._counted
            self._counted = counted
        return 1 if self._is_searched else at_once

    async def pause(self, seconds: float) -> None:
        """After questions that took so long, if people search."""
        if self._is_searched:
            await asyncio.sleep(min(seconds, LONGEST_PAUSE_SECONDS))
