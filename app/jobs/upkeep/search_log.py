"""cleanup_search_log: what logs of searches keep no longer, and minutes of searches of long ago."""

from collections.abc import Mapping
from typing import Any

from app.db.database import Database
from app.db.search_health import SearchHealthRepository, trim_search_health
from app.db.search_logs import SearchLogRepository, trim_search_logs
from app.domain.periodic import Round


class OldSearches:
    """Each log says how long it keeps its entries; minutes without words are kept alike for all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def clean(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        if given.dry_run:
            async with self._database.begin() as connection:
                entries = await SearchLogRepository(connection).count_old()
                minutes = await SearchHealthRepository(connection).count_old()
            return {"entries": entries, "minutes": minutes}
        return {"entries": await trim_search_logs(self._database), "minutes": await trim_search_health(self._database)}
