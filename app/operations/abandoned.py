"""Takes away what rebuilds leave that were cancelled or failed, and has aliases follow switches."""

from collections.abc import Sequence
from uuid import UUID

import structlog

from app.db.abandoned import Abandoned, AbandonedRepository
from app.db.database import Database
from app.db.leftovers import ChunkPair, LeftoverRepository
from app.domain.ports import VectorStore

log = structlog.get_logger(__name__)

CHUNKS_AT_ONCE = 2000
SWITCHED_SECONDS = 600.0
"""So long ago a switch may be whose alias is looked at; an attempt that goes on sets it too."""


class AbandonedGenerations:
    """Postgres decides first, then the points go and the chunks.

    What a crash in between leaves is dropped by name, and chunks by their generation, by the hourly clean-up.
    """

    def __init__(self, database: Database, store: VectorStore) -> None:
        self._database = database
        self._store = store

    async def drop_of(self, operation_id: UUID) -> int:
        """Drop what an operation that has ended was building; how many generations that were."""
        return await self._drop(operation_id)

    async def settle(self) -> dict[str, int]:
        """Drop what nobody builds any more, and put right the aliases of collections that were switched lately."""
        return {"given_up": await self._drop(None), "aliases": await self._repair_aliases()}

    async def _drop(self, operation_id: UUID | None) -> int:
        async with self._database.begin() as connection:
            given_up = await AbandonedRepository(connection).give_up(operation_id)
        await self._clear(given_up)
        return len(given_up)

    async def _clear(self, given_up: Sequence[Abandoned]) -> None:
        for generation in given_up:
            await self._store.drop_collection(generation.name)
            log.info("generation_dropped", name=generation.name)
            pair = ChunkPair(collection_id=generation.collection_id, generation_id=generation.id, is_orphan=True)
            gone = CHUNKS_AT_ONCE
            while gone == CHUNKS_AT_ONCE:
                async with self._database.begin() as connection:
                    gone = await LeftoverRepository(connection).delete_orphan_chunks(pair, limit=CHUNKS_AT_ONCE)
        rows = len(given_up)
        while rows:
            async with self._database.begin() as connection:
                rows = await AbandonedRepository(connection).delete_rows()

    async def _repair_aliases(self) -> int:
        async with self._database.begin() as connection:
            switched = await AbandonedRepository(connection).list_switched(seconds=SWITCHED_SECONDS)
        if not switched:
            return 0
        aliases, repaired = await self._store.list_aliases(), 0
        for collection_id, name in switched.items():
            alias = f"vecloom_{collection_id}"
            if aliases.get(alias) != name:
                await self._store.set_alias(alias, to=name)
                repaired += 1
        return repaired
