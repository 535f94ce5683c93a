"""The partitions of ``chunks``: what Postgres' own statistics say of them, and rows of ``partition_health``."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.database import Database
from app.domain.partitions import PartitionAction, PartitionFigures, PartitionHealth, PartitionLook

DAYS_KEPT = 90
STATEMENTS = {
    PartitionAction.ANALYZE: "ANALYZE",
    PartitionAction.VACUUM: "VACUUM (ANALYZE)",
}
LOCK_SECONDS = 3.0
"""One that somebody else works on is left for the next time; autovacuum makes way sooner."""

_FIGURES = """
SELECT c.relname AS name, greatest(coalesce(s.n_live_tup, 0), 0) AS rows, coalesce(s.n_dead_tup, 0) AS dead_rows,
       coalesce(s.n_mod_since_analyze, 0) AS changed_rows, pg_total_relation_size(c.oid) AS bytes,
       greatest(s.last_vacuum, s.last_autovacuum) AS last_vacuum_at,
       greatest(s.last_analyze, s.last_autoanalyze) AS last_analyze_at
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE i.inhparent = 'chunks'::regclass ORDER BY c.relname
"""


class PartitionRepository:
    """Reads the health of partitions and keeps it; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def read_figures(self) -> list[PartitionFigures]:
        """What Postgres says of each partition now."""
        return [PartitionFigures(**row) for row in (await self._connection.execute(text(_FIGURES))).mappings()]

    async def keep(self, partitions: Sequence[PartitionHealth]) -> None:
        """Keep the health of all partitions, and forget what is older than ``DAYS_KEPT``."""
        await self._connection.execute(
            text(
                """INSERT INTO partition_health (taken_at, name, rows, dead_rows, bytes, share, skew, status, action,
                       last_vacuum_at, last_analyze_at)
                   VALUES (now(), :name, :rows, :dead_rows, :bytes, :share, :skew, :status, :action, :last_vacuum_at,
                       :last_analyze_at)"""
            ),
            [_to_row(partition) for partition in partitions],
        )
        await self._connection.execute(
            text("DELETE FROM partition_health WHERE taken_at < now() - make_interval(days => :days)"),
            {"days": DAYS_KEPT},
        )

    async def list_looks(self, *, days: int, limit: int = 400) -> list[PartitionLook]:
        """What was found in the last days, newest first."""
        rows = await self._connection.execute(
            text(
                """SELECT taken_at, sum(rows)::bigint AS rows, sum(dead_rows)::bigint AS dead_rows,
                       coalesce(max(skew) FILTER (WHERE status <> 'healthy'), 0) AS skew, count(action) AS helped,
                       count(*) FILTER (WHERE status = 'warning') AS warning,
                       count(*) FILTER (WHERE status = 'unbalanced') AS unbalanced
                   FROM partition_health WHERE taken_at > now() - make_interval(days => :days)
                   GROUP BY taken_at ORDER BY taken_at DESC LIMIT :limit"""
            ),
            {"days": days, "limit": limit},
        )
        return [PartitionLook(**row) for row in rows.mappings()]


async def help_partition(database: Database, name: str, action: PartitionAction, *, timeout_seconds: float) -> None:
    """Have Postgres do what helps a partition; outside any transaction, as a VACUUM has to be.

    Raises:
        asyncpg.PostgresError: if it refuses or does not end in time.
    """
    async with database.single() as connection:
        raw = await connection.get_raw_connection()
        driver = raw.driver_connection
        if driver is None:
            raise RuntimeError("the connection is closed")
        quoted = await driver.fetchval("SELECT quote_ident($1)", name)
        try:
            await driver.execute(
                f"SET statement_timeout = {int(timeout_seconds * 1000)}; SET lock_timeout = {int(LOCK_SECONDS * 1000)}"
            )
            await driver.execute(f"{STATEMENTS[action]} {quoted}", timeout=timeout_seconds + 1)
            await driver.execute("RESET statement_timeout; RESET lock_timeout")
        except BaseException:
            # its settings are not those of the others any more
            await connection.invalidate()
            raise


def _to_row(partition: PartitionHealth) -> dict[str, object]:
    figures = partition.figures
    return {
        "name": figures.name,
        "rows": figures.rows,
        "dead_rows": figures.dead_rows,
        "bytes": figures.bytes,
        "share": partition.share,
        "skew": partition.skew,
        "status": partition.status.value,
        "action": partition.action and partition.action.value,
        "last_vacuum_at": figures.last_vacuum_at,
        "last_analyze_at": figures.last_analyze_at,
    }
