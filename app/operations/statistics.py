"""What a collection holds and how it has grown, as its owner sees it."""

from collections.abc import Sequence
from uuid import UUID

from app.db.collection_stats import CollectionStatsRepository
from app.db.database import Database
from app.db.search_health import KEPT_DAYS, SearchHealthRepository
from app.db.sources import SourceRepository
from app.domain.documents import Source
from app.domain.searches import SearchHealth
from app.domain.statistics import CollectionStatistics, GrowthPoint


class StatisticsService:
    """Reads; changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(
        self, collection_id: UUID, *, days: int
    ) -> tuple[CollectionStatistics, Sequence[GrowthPoint], Sequence[Source]]:
        """What it holds now, what it held in the last days, and its sources."""
        async with self._database.begin() as connection:
            stats = CollectionStatsRepository(connection)
            now, growth = await stats.measure(collection_id), await stats.list_growth(collection_id, days=days)
            return now, growth, await SourceRepository(connection).list_all(collection_id)

    async def read_searches(self, collection_id: UUID) -> SearchHealth:
        """What became of its searches in the days that are remembered."""
        async with self._database.begin() as connection:
            return await SearchHealthRepository(connection).read(collection_id, days=KEPT_DAYS)
