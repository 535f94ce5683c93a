"""Rows of ``attached_benchmarks``: datasets that a collection is measured with again and again."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.statements import JSON, parsed
from app.domain.benchmarks import AttachedBenchmark, Attachment

_SELECT = """SELECT a.collection_id, c.user_id, a.dataset_id, d.name AS dataset_name, a.is_gate, a.after_reindex,
    a.every_seconds, a.config, a.next_at, a.last_benchmark_id, a.last_error_code,
    c.active_generation_id
    FROM attached_benchmarks a JOIN collections c ON c.id = a.collection_id AND c.deleted_at IS NULL
    JOIN benchmark_datasets d ON d.id = a.dataset_id"""

# due by the clock, or because another generation serves than when it was run last
# and nobody writes to the collection, and the one before is not under way
_DUE = """c.paused_at IS NULL AND c.active_generation_id IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM operations w WHERE w.collection_id = c.id AND w.state IN ('pending', 'running')
        AND (w.writes OR w.kind = 'BENCHMARK' AND w.config ->> 'benchmark_id' = a.last_benchmark_id::text))
    AND (a.next_at <= now() OR (a.after_reindex AND a.generation_id IS DISTINCT FROM c.active_generation_id))"""


def _to_attached(row: RowMapping) -> AttachedBenchmark:
    kept = (
        "collection_id", "user_id", "dataset_id", "dataset_name", "next_at", "last_benchmark_id", "last_error_code",
        "active_generation_id",
    )  # fmt: skip
    attachment = Attachment(
        is_gate=row["is_gate"],
        after_reindex=row["after_reindex"],
        every_seconds=row["every_seconds"],
        config=row["config"],
    )
    return AttachedBenchmark(attachment=attachment, **{name: row[name] for name in kept})


class AttachedBenchmarkRepository:
    """Takes ids, gives attachments, never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _rows(self, sql: str, /, **values: object) -> Sequence[RowMapping]:
        types = {"config": JSON} if "config" in values else {}
        result = await self._connection.execute(parsed(sql, **types), values)
        return result.mappings().all() if result.returns_rows else []

    async def set(self, collection_id: UUID, dataset_id: UUID, attachment: Attachment) -> None:
        """Attach a dataset, or change how it is; the next run is one interval away, or what it was if that is sooner.

        The generation that serves now counts as measured, unless another one did already.
        """
        await self._rows(
            """INSERT INTO attached_benchmarks AS a (collection_id, dataset_id, is_gate, after_reindex, every_seconds,
                   config, next_at, generation_id)
               SELECT CAST(:collection AS uuid), CAST(:dataset AS uuid), CAST(:gate AS bool), CAST(:after AS bool),
                      CAST(:every AS int), :config, now() + make_interval(secs => CAST(:every AS int)),
                      (SELECT active_generation_id FROM collections WHERE id = CAST(:collection AS uuid))
               ON CONFLICT (collection_id, dataset_id) DO UPDATE SET is_gate = excluded.is_gate,
                   after_reindex = excluded.after_reindex,
                   generation_id = CASE WHEN a.after_reindex THEN a.generation_id ELSE excluded.generation_id END,
                   every_seconds = excluded.every_seconds,
                   config = excluded.config,
                   next_at = CASE WHEN excluded.next_at IS NULL THEN NULL
                                  ELSE least(a.next_at, excluded.next_at) END""",
            collection=collection_id,
            dataset=dataset_id,
            gate=attachment.is_gate,
            after=attachment.after_reindex,
            every=attachment.every_seconds,
            config=dict(attachment.config),
        )

    async def remove(self, collection_id: UUID, dataset_id: UUID) -> bool:
        """Detach a dataset; whether it was attached."""
        rows = await self._rows(
            """DELETE FROM attached_benchmarks WHERE collection_id = :collection AND dataset_id = :dataset
               RETURNING dataset_id""",
            collection=collection_id,
            dataset=dataset_id,
        )
        return bool(rows)

    async def list_of(self, collection_id: UUID) -> list[AttachedBenchmark]:
        """By the names of the datasets."""
        rows = await self._rows(
            f"{_SELECT} WHERE a.collection_id = :collection ORDER BY d.name", collection=collection_id
        )
        return [_to_attached(row) for row in rows]

    async def list_due(self, *, limit: int) -> list[AttachedBenchmark]:
        """What is to be run now."""
        rows = await self._rows(f"{_SELECT} WHERE {_DUE} ORDER BY a.next_at NULLS FIRST LIMIT :limit", limit=limit)
        return [_to_attached(row) for row in rows]

    async def note_begun(
        self, attached: AttachedBenchmark, *, benchmark_id: UUID | None, error_code: str | None
    ) -> None:
        """What became of it: a benchmark, or why there is none. The next one by the clock is an interval from now."""
        await self._rows(
            """UPDATE attached_benchmarks SET last_benchmark_id = coalesce(:benchmark, last_benchmark_id),
                      last_error_code = :code, generation_id = :generation,
                      next_at = now() + make_interval(secs => every_seconds)
               WHERE collection_id = :collection AND dataset_id = :dataset""",
            collection=attached.collection_id,
            dataset=attached.dataset_id,
            benchmark=benchmark_id,
            generation=attached.active_generation_id,
            code=error_code,
        )
