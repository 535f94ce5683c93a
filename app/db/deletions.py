"""The end of a collection: hidden at once, cleared away afterwards."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select, text

from app.db.collections import CollectionRepository
from app.db.documents import ManifestRows
from app.db.operation_rows import SELECT, Rows, to_operation
from app.db.statements import JSON, parsed
from app.db.tables import collections
from app.domain.collections import Collection
from app.domain.errors import CollectionNotFoundError
from app.domain.operations import Operation, OperationKind

Place = tuple[UUID, UUID]
"""Generation and id of a chunk."""

# They stand in the statements: a limit that Postgres does not know while it plans makes it expect many rows, and read
# whole tables for few of them.
CHUNKS_AT_ONCE = 2000
DOCUMENTS_AT_ONCE = 1000


class EndRepository(Rows):
    """What is asked of a collection that is to end, or of a part of it; never commits."""

    async def lock(self, user_id: UUID, id_or_name: UUID | str) -> Collection:
        """The collection, to which nobody can add an operation until the transaction ends.

        Raises:
            CollectionNotFoundError: also if it was deleted while this waited for its row.
        """
        repository = CollectionRepository(self._connection)
        found = await repository.get(user_id, id_or_name)
        locked = select(collections.c.id).where(collections.c.id == found.id, collections.c.deleted_at.is_(None))
        if (await self._connection.execute(locked.with_for_update())).first() is None:
            raise CollectionNotFoundError(id_or_name)
        return await repository.get(user_id, found.id)

    async def hide(self, collection_id: UUID) -> None:
        """Take the collection out of every list and search; a pause of it ends, for its deletion has to run."""
        await self._connection.execute(
            text("UPDATE collections SET deleted_at = now(), paused_at = NULL WHERE id = :id"), {"id": collection_id}
        )

    async def cancel_all(self, collection_id: UUID, *, besides: UUID) -> list[Operation]:
        """Ask all operations of a collection but one to stop; those that waited are cancelled, and given."""
        rows = await self._rows(
            f"""WITH o AS (UPDATE operations o SET cancel_requested_at = coalesce(cancel_requested_at, now()),
                    state = CASE WHEN state = 'pending' THEN 'cancelled' ELSE state END,
                    finished_at = CASE WHEN state = 'pending' THEN now() END
                WHERE o.collection_id = :collection AND o.id <> :besides AND o.state IN ('pending', 'running')
                RETURNING o.*) {SELECT.replace("FROM operations o", "FROM o", 1)} WHERE o.state = 'cancelled'""",
            {"collection": collection_id, "besides": besides},
        )
        return [to_operation(row) for row in rows]

    async def find_unfinished(
        self, collection_id: UUID, kind: OperationKind, config: dict[str, Any]
    ) -> Operation | None:
        """The newest operation of a kind that has not ended and is about the same."""
        statement = parsed(
            f"""{SELECT} WHERE o.collection_id = :collection AND o.kind = :kind AND o.state IN ('pending', 'running')
                AND o.cancel_requested_at IS NULL AND o.config @> :config ORDER BY o.seq DESC LIMIT 1""",
            config=JSON,
        )
        values = {"collection": collection_id, "kind": kind.value, "config": config}
        row = (await self._connection.execute(statement, values)).mappings().first()
        return None if row is None else to_operation(row)


class DeletionRepository(ManifestRows):
    """What is left of one collection that is deleted; never commits."""

    async def find_name(self) -> str | None:
        """Its name; None once its row is gone."""
        rows = await self._execute("SELECT name FROM collections WHERE id = :collection AND deleted_at IS NOT NULL")
        return rows[0]["name"] if rows else None

    async def count(self) -> dict[str, int]:
        """Its chunks, and its documents but for those that were removed before."""
        rows = await self._execute(
            """SELECT (SELECT count(*) FROM chunks WHERE collection_id = :collection) AS chunks,
                      (SELECT count(*) FROM documents
                       WHERE collection_id = :collection AND state <> 'removed') AS documents"""
        )
        return {name: int(rows[0][name]) for name in ("chunks", "documents")}

    async def delete_chunks(self, *, after: Place | None) -> tuple[int, Place | None]:
        """Delete the next chunks in the order of their keys; how many, and the last of them, None at the end.

        Going on after the last one spares Postgres to pass over those that are deleted already.
        """
        begin = "AND (generation_id, id) > (:generation, :chunk)" if after else ""
        values = {"generation": after[0], "chunk": after[1]} if after else {}
        ends = await self._execute(
            f"""SELECT generation_id, id FROM chunks WHERE collection_id = :collection {begin}
                ORDER BY generation_id, id OFFSET {CHUNKS_AT_ONCE - 1} LIMIT 1""",
            **values,
        )
        last = (ends[0]["generation_id"], ends[0]["id"]) if ends else None
        if last is not None:
            values |= {"last_generation": last[0], "last_chunk": last[1]}
        end = "AND (generation_id, id) <= (:last_generation, :last_chunk)" if last else ""
        gone = await self._execute(
            f"""WITH gone AS (DELETE FROM chunks WHERE collection_id = :collection {begin} {end} RETURNING 1)
                SELECT count(*) AS n FROM gone""",
            **values,
        )
        return int(gone[0]["n"]), last

    async def delete_documents(self) -> tuple[int, int]:
        """Delete some documents; how many, and how many of them were not removed before."""
        rows = await self._execute(
            f"""WITH gone AS (DELETE FROM documents WHERE id IN (
                    SELECT id FROM documents WHERE collection_id = :collection LIMIT {DOCUMENTS_AT_ONCE}
                ) RETURNING state)
                SELECT count(*) AS n, count(*) FILTER (WHERE state <> 'removed') AS live FROM gone"""
        )
        return int(rows[0]["n"]), int(rows[0]["live"])

    async def delete_rest(self, *, name: str) -> None:
        """Delete sources, generations and the collection itself. Its operations stay, with its name, and write no more.

        The one that does this too: whatever it has left to do, nobody waits for it any more.
        """
        await self._execute("DELETE FROM sources WHERE collection_id = :collection")
        await self._execute("DELETE FROM generations WHERE collection_id = :collection")
        await self._execute(
            """UPDATE operations SET collection_id = NULL, writes = false, former_collection = :name
               WHERE collection_id = :collection""",
            name=name,
        )
        await self._execute("DELETE FROM collections WHERE id = :collection")


def names_of(places: Sequence[str], collection_id: UUID, *, marker: str) -> list[str]:
    """Which of these physical collections are of our collection, whether its generations know them or not."""
    return [place for place in places if place.startswith(f"vecloom_{marker}_{collection_id.hex}_")]
