"""cleanup_orphans: chunks whose generation is dropped or has no row, and what older versions left in Postgres."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.db.database import Database
from app.db.leftovers import ChunkPair, LeftoverRepository
from app.domain.periodic import Round

PAIRS_PER_PAGE = 200
CHUNKS_PER_BATCH = 5000
MOST_BATCHES = 400
FIRST = (UUID(int=0), UUID(int=0))


class OrphanChunks:
    """Finds them by one look at each generation that chunks belong to. Nothing else points from chunks to rows.

    A round ends after so many chunks; the next one goes on.
    """

    def __init__(
        self, database: Database, *, chunks_per_batch: int = CHUNKS_PER_BATCH, most_batches: int = MOST_BATCHES
    ) -> None:
        self._database = database
        self._chunks_per_batch = chunks_per_batch
        self._most_batches = most_batches

    async def clean(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        after, generations, chunks, batches = FIRST, 0, 0, 0
        while batches < self._most_batches:
            async with self._database.begin() as connection:
                pairs = await LeftoverRepository(connection).list_chunk_pairs(after, limit=PAIRS_PER_PAGE)
            for pair in pairs:
                if pair.is_orphan and batches < self._most_batches:
                    generations += 1
                    deleted, used = await self._clean_one(pair, self._most_batches - batches, dry_run=given.dry_run)
                    chunks, batches = chunks + deleted, batches + used
            if len(pairs) < PAIRS_PER_PAGE:
                break
            after = (pairs[-1].collection_id, pairs[-1].generation_id)
        ticks = 0 if given.dry_run else await self._clean_ticks()
        return {"generations": generations, "chunks": chunks, "ticks": ticks, "complete": batches < self._most_batches}

    async def _clean_one(self, pair: ChunkPair, most_batches: int, *, dry_run: bool) -> tuple[int, int]:
        """How many chunks went, or would go, in how many batches."""
        if dry_run:
            async with self._database.begin() as connection:
                return await LeftoverRepository(connection).count_chunks(pair), 1
        total = 0
        for used in range(1, most_batches + 1):
            async with self._database.begin() as connection:
                deleted = await LeftoverRepository(connection).delete_orphan_chunks(pair, limit=self._chunks_per_batch)
            total += deleted
            if deleted < self._chunks_per_batch:
                return total, used
        return total, most_batches

    async def _clean_ticks(self) -> int:
        async with self._database.begin() as connection:
            return await LeftoverRepository(connection).delete_old_ticks()
