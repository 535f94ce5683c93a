"""Rows of ``projections``."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.products import error_code_of, state_of
from app.db.statements import JSON, UUIDS, parsed
from app.domain.collections import Generation
from app.domain.operations import ProductState
from app.domain.projections import (
    Fingerprint,
    MadeProjection,
    NewProjection,
    Projection,
    ProjectionNotFoundError,
)

JSONS = ("config", "fingerprint", "quality", "details", "files")

_COLUMNS = f"""p.id, p.collection_id, c.name AS collection_name, p.user_id, p.operation_id, {state_of("p")} AS state,
    p.config, p.generation_id, p.generation, p.fingerprint, p.attempt, p.degraded, p.quality, p.points, p.sampled,
    p.details, p.files,
    {error_code_of("p")} AS error_code,
    p.created_at, p.began_at, p.finished_at"""
_FROM = """FROM projections p JOIN collections c ON c.id = p.collection_id AND c.deleted_at IS NULL
    LEFT JOIN operations o ON o.id = p.operation_id"""


def to_projection(row: RowMapping) -> Projection:
    """A projection of its row."""
    return Projection(**{**row, "state": ProductState(row["state"])})


class ProjectionRepository:
    """Takes ids, gives projections, never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _rows(self, sql: str, /, **values: object) -> Sequence[RowMapping]:
        types = {name: JSON for name, value in values.items() if name in JSONS and value is not None}
        if "ids" in values:
            types |= {"ids": UUIDS}  # type: ignore[dict-item]
        result = await self._connection.execute(parsed(sql, **types), values)
        return result.mappings().all() if result.returns_rows else []

    async def add(self, new: NewProjection) -> UUID:
        """A projection; its operation comes next."""
        projection_id = uuid4()
        await self._rows(
            """INSERT INTO projections (id, collection_id, user_id, config)
               VALUES (:id, :collection, :user, :config)""",
            id=projection_id,
            collection=new.collection_id,
            user=new.user_id,
            config=dict(new.config),
        )
        return projection_id

    async def set_operation(self, projection_id: UUID, operation_id: UUID) -> None:
        """Say which operation makes it."""
        await self._rows(
            "UPDATE projections SET operation_id = :operation WHERE id = :id", id=projection_id, operation=operation_id
        )

    async def get(self, user_id: UUID, projection_id: UUID | str) -> Projection:
        """Raises ProjectionNotFoundError, also for somebody else's."""
        try:
            wanted = UUID(str(projection_id))
        except ValueError:
            raise ProjectionNotFoundError(projection_id) from None
        rows = await self._rows(
            f"SELECT {_COLUMNS} {_FROM} WHERE p.id = :id AND p.user_id = :user", id=wanted, user=user_id
        )
        if not rows:
            raise ProjectionNotFoundError(projection_id)
        return to_projection(rows[0])

    async def list_newest(self, collection_id: UUID, *, limit: int) -> list[Projection]:
        """Newest first."""
        rows = await self._rows(
            f"""SELECT {_COLUMNS} {_FROM} WHERE p.collection_id = :collection
                ORDER BY p.created_at DESC, p.id LIMIT :limit""",
            collection=collection_id,
            limit=limit,
        )
        return [to_projection(row) for row in rows]

    async def list_same(
        self, collection_id: UUID, config: Mapping[str, Any], fingerprint: Fingerprint
    ) -> list[Projection]:
        """Completed ones of the same request over the same data, newest first; not those whose layout has failed."""
        rows = await self._rows(
            f"""SELECT {_COLUMNS} {_FROM} WHERE p.collection_id = :collection AND p.state = 'completed'
                  AND p.config = :config AND p.fingerprint = :fingerprint
                  AND p.degraded IS DISTINCT FROM 'layout_failed'
                ORDER BY p.finished_at DESC LIMIT 3""",
            collection=collection_id,
            config=dict(config),
            fingerprint=fingerprint.to_config(),
        )
        return [to_projection(row) for row in rows]

    async def find_under_way(
        self, collection_id: UUID, config: Mapping[str, Any], fingerprint: Fingerprint
    ) -> UUID | None:
        """The operation that draws the same of the same data now, or will; until the end nobody else asks so here."""
        await self._rows("SELECT 1 FROM collections WHERE id = :collection FOR NO KEY UPDATE", collection=collection_id)
        rows = await self._rows(
            """SELECT o.id FROM projections p JOIN operations o ON o.id = p.operation_id
               WHERE p.collection_id = :collection AND p.config = :config
                 AND (p.fingerprint IS NULL OR p.fingerprint = :fingerprint)
                 AND o.state IN ('pending', 'running') AND o.cancel_requested_at IS NULL ORDER BY o.id LIMIT 1""",
            collection=collection_id,
            config=dict(config),
            fingerprint=fingerprint.to_config(),
        )
        return UUID(str(rows[0]["id"])) if rows else None

    async def list_before(self, projection: Projection) -> list[Projection]:
        """Completed ones of the same method and dimensions, newest first: those it may begin from."""
        rows = await self._rows(
            f"""SELECT {_COLUMNS} {_FROM} WHERE p.collection_id = :collection AND p.id <> :id AND p.state = 'completed'
                  AND p.degraded IS NULL AND p.points > 0 AND p.config ->> 'method' = :method
                  AND CAST(p.config ->> 'dimensions' AS int) = :dimensions
                ORDER BY p.finished_at DESC LIMIT 3""",
            collection=projection.collection_id,
            id=projection.id,
            method=projection.config["method"],
            dimensions=projection.config["dimensions"],
        )
        return [to_projection(row) for row in rows]

    async def delete(self, projection_id: UUID) -> None:
        """Its row; its files are removed by whoever deletes it."""
        await self._rows("DELETE FROM projections WHERE id = :id", id=projection_id)

    async def begin(
        self, projection_id: UUID, *, generation: Generation, fingerprint: Fingerprint, attempt: str
    ) -> None:
        """An attempt makes it, whatever had become of it before."""
        await self._rows(
            """UPDATE projections SET state = 'running', error_code = NULL, finished_at = NULL, attempt = :attempt,
                      generation_id = :generation_id, generation = :generation, fingerprint = :fingerprint,
                      began_at = now()
               WHERE id = :id AND state <> 'completed'""",
            id=projection_id,
            attempt=attempt,
            generation_id=generation.id,
            generation=generation.name,
            fingerprint=fingerprint.to_config(),
        )

    async def complete(self, projection_id: UUID, made: MadeProjection) -> None:
        """Keep what came of it."""
        await self._rows(
            """UPDATE projections SET state = 'completed', finished_at = now(), error_code = NULL, attempt = NULL,
                      degraded = :degraded, quality = :quality, points = :points, sampled = :sampled,
                      details = :details, files = :files
               WHERE id = :id""",
            id=projection_id,
            degraded=made.degraded,
            quality=dict(made.quality),
            points=made.points,
            sampled=made.sampled,
            details=dict(made.details),
            files=dict(made.files),
        )

    # --- what it is of --------------------------------------------------------------------------

    async def take_fingerprint(self, collection_id: UUID, generation: Generation) -> Fingerprint:
        """What the collection holds now: its documents and their contents; two that are equal hold the same."""
        rows = await self._rows(
            """SELECT count(*) AS documents, coalesce(sum(chunk_count), 0) AS chunks,
                      coalesce(sum(hashtextextended(id::text || coalesce(encode(content_hash, 'hex'), ''), 0)), 0)::text
                          AS digest
               FROM documents WHERE collection_id = :collection AND state = 'completed' AND chunk_count > 0""",
            collection=collection_id,
        )
        row = rows[0]
        return Fingerprint(
            generation_id=generation.id,
            generation=generation.name,
            documents=row["documents"],
            chunks=int(row["chunks"]),
            digest=row["digest"],
        )

    # --- upkeep ---------------------------------------------------------------------------------

    async def find_known(self, ids: Sequence[UUID]) -> dict[UUID, str | None]:
        """Those of these ids that have a row, each with the attempt that makes it now."""
        rows = await self._rows("SELECT id, attempt FROM projections WHERE id = ANY(:ids)", ids=list(ids))
        return {row["id"]: row["attempt"] for row in rows}
