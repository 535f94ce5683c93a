"""cleanup_embedding_cache: the vectors that were not used for longest go, until the rest fits."""

from collections.abc import Mapping
from typing import Any

from app.db.database import Database
from app.db.embedding_cache import EmbeddingCacheRepository, trim_embedding_cache
from app.domain.periodic import Round


class OldVectors:
    """Keeps the embedding cache within ``max_bytes``."""

    def __init__(self, database: Database, *, max_bytes: int) -> None:
        self._database = database
        self._max_bytes = max_bytes

    async def clean(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        async with self._database.begin() as connection:
            size = await EmbeddingCacheRepository(connection).size()
        excess = max(0, size - self._max_bytes)
        if given.dry_run:
            return {"bytes": size, "excess_bytes": excess}
        dropped = await trim_embedding_cache(self._database, max_bytes=self._max_bytes)
        return {"bytes": size, "excess_bytes": excess, "vectors": dropped}
