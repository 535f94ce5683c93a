"""Rows of ``embedding_cache``: vectors that a model has made before, whoever asked for them."""

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger

from app.db.database import Database
from app.db.statements import BYTES, parsed

ROW_BYTES = 160
"""What a row takes beside its vector: key, headers, two index entries."""
ROWS_PER_TRIM = 5000


class EmbeddingCacheRepository:
    """Keys and vectors are bytes that mean nothing here; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Vectors by key, of the keys that are known. What was not used today yet is marked as used, once a day."""
        rows = await self._connection.execute(
            parsed(
                "SELECT key, vector, used_on < current_date AS is_late FROM embedding_cache WHERE key = ANY(:keys)",
                keys=BYTES,
            ),
            {"keys": list(keys)},
        )
        found = rows.all()
        late = [row.key for row in found if row.is_late]
        if late:
            await self._connection.execute(
                parsed(
                    """UPDATE embedding_cache SET used_on = current_date WHERE key IN (
                           SELECT key FROM embedding_cache WHERE key = ANY(:keys) AND used_on < current_date
                           FOR UPDATE SKIP LOCKED)""",
                    keys=BYTES,
                ),
                {"keys": late},
            )
        return {row.key: row.vector for row in found}

    async def put(self, vectors: Mapping[bytes, bytes]) -> None:
        """Keep vectors by key; a vector that is there already is replaced if it is another."""
        keys = sorted(vectors)  # one order for all who write, so that none waits for the other
        await self._connection.execute(
            parsed(
                """INSERT INTO embedding_cache AS c (key, vector)
                   SELECT key, vector FROM unnest(:keys, :vectors) AS given (key, vector)
                   ON CONFLICT (key) DO UPDATE SET vector = excluded.vector, used_on = excluded.used_on
                   WHERE c.vector <> excluded.vector""",
                keys=BYTES,
                vectors=BYTES,
            ),
            {"keys": keys, "vectors": [vectors[key] for key in keys]},
        )

    async def size(self) -> int:
        """About how many bytes all rows take."""
        total = await self._connection.scalar(
            parsed(
                "SELECT coalesce(sum(octet_length(vector) + :row_bytes), 0)::bigint FROM embedding_cache",
                row_bytes=BigInteger(),
            ),
            {"row_bytes": ROW_BYTES},
        )
        return int(total or 0)

    async def drop_oldest(self, rows: int) -> tuple[int, int]:
        """Drop the rows that were not used for longest; gives how many, and how many bytes they took."""
        dropped = await self._connection.execute(
            parsed(
                """DELETE FROM embedding_cache WHERE key IN (
                       SELECT key FROM embedding_cache ORDER BY used_on LIMIT :rows FOR UPDATE SKIP LOCKED)
                   RETURNING octet_length(vector) AS bytes""",
                rows=BigInteger(),
            ),
            {"rows": rows},
        )
        sizes = [row.bytes + ROW_BYTES for row in dropped]
        return len(sizes), sum(sizes)


async def trim_embedding_cache(database: Database, *, max_bytes: int) -> int:
    """Drop what was not used for longest until the rest fits, a few thousand rows a transaction; gives how many."""
    async with database.begin() as connection:
        excess = await EmbeddingCacheRepository(connection).size() - max_bytes
    total = 0
    while excess > 0:
        async with database.begin() as connection:
            # rows of one model are alike: no more are dropped than it takes
            rows, size = await EmbeddingCacheRepository(connection).drop_oldest(
                min(ROWS_PER_TRIM, 1 + excess // (ROW_BYTES + 4096))
            )
        if rows == 0:
            return total
        total += rows
        excess -= size
    return total
