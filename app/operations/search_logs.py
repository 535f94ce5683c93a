"""Which collections have their searches written down, as their owners want it."""

from uuid import UUID

from app.db.audit import record
from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.search_logs import SearchLogRepository
from app.domain.searches import SearchLogStatus


class SearchLogService:
    """One method, one transaction. Everything raises CollectionNotFoundError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def status(self, user_id: UUID, id_or_name: str) -> SearchLogStatus:
        """How it stands with the log of a collection."""
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            logs = SearchLogRepository(connection)
            return SearchLogStatus(
                collection_id=collection.id,
                collection_name=collection.name,
                log=await logs.find(collection.id),
                counts=await logs.count(collection.id),
            )

    async def set(self, user_id: UUID, id_or_name: str, *, share: float, keep_days: int) -> SearchLogStatus:
        """Write searches down from now on, or in another way; what is there stays."""
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            await SearchLogRepository(connection).set(collection.id, share=share, keep_days=keep_days)
            await record(connection, "search_log.set", collection, after={"share": share, "keep_days": keep_days})
        return await self.status(user_id, id_or_name)

    async def unset(self, user_id: UUID, id_or_name: str) -> SearchLogStatus:
        """Write no more searches down, and delete what was written."""
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            await SearchLogRepository(connection).remove(collection.id)
            await record(connection, "search_log.unset", collection)
        return await self.status(user_id, id_or_name)
