"""The generations of a collection, as its owner sees them."""

from collections.abc import Sequence
from uuid import UUID

from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.generations import GenerationRepository
from app.domain.generations import GenerationStatus


class GenerationService:
    """Reads; changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, user_id: UUID, id_or_name: str) -> Sequence[GenerationStatus]:
        """Those that were not dropped, newest first. Raises CollectionNotFoundError."""
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            return await GenerationRepository(connection).list_standing(collection.id)
