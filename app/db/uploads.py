"""Rows of ``uploads``."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.database import Database
from app.db.statements import TEXTS, parsed
from app.db.tables import sources
from app.db.upload_tables import uploads
from app.domain.uploads import (
    TooManyUploadsError,
    Upload,
    UploadedFile,
    UploadLimits,
    UploadNotFoundError,
    UploadQuotaError,
    UploadState,
)

FILES_AT_ONCE = 1000


def _to_upload(row: RowMapping) -> Upload:
    return Upload(**{**row, "state": UploadState(row["state"])})


def _expiry(seconds: float) -> Any:  # noqa: ANN401 — SQLAlchemy's expression
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


class UploadRepository:
    """Takes ids, gives uploads, never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def require_room(self, user_id: UUID, limits: UploadLimits, *, size: int, begins: bool = False) -> int:
        """How many bytes a user may still send beside ``size``; nobody else adds to them until the transaction ends.

        Raises:
            UploadQuotaError: if ``size`` is too much already.
            TooManyUploadsError: if one more ``begins`` and the user has as many unfinished ones as are allowed.
        """
        # two at once must not both be the last one
        await self._connection.execute(text("SELECT 1 FROM users WHERE id = :id FOR NO KEY UPDATE"), {"id": user_id})
        row = (
            await self._connection.execute(
                text(
                    """SELECT coalesce(sum(greatest(coalesce(size, 0), received)), 0)::bigint AS bytes,
                              count(*) FILTER (WHERE state = 'receiving' AND size IS NOT NULL) AS unfinished
                       FROM uploads WHERE user_id = :id"""
                ),
                {"id": user_id},
            )
        ).one()
        if begins and row.unfinished >= limits.max_unfinished:
            raise TooManyUploadsError(limits.max_unfinished)
        left = limits.quota_bytes - int(row.bytes) - size
        if left < 0:
            raise UploadQuotaError(limits.quota_bytes)
        return left

    async def add(self, values: dict[str, Any], *, expiry_seconds: float) -> Upload:
        """A new one that is being received; ``values`` are its columns."""
        query = insert(uploads).values(state=UploadState.RECEIVING.value, expires_at=_expiry(expiry_seconds), **values)
        return _to_upload((await self._connection.execute(query.returning(uploads))).mappings().one())

    async def get(self, collection_id: UUID, upload_id: UUID, *, hold: bool = False) -> Upload:
        """Raises UploadNotFoundError, also of one that has expired. Others who change one that is on ``hold`` wait."""
        query = select(uploads).where(
            uploads.c.id == upload_id,
            uploads.c.collection_id == collection_id,
            (uploads.c.state == "complete") | (uploads.c.expires_at > func.now()),
        )
        if hold:
            query = query.with_for_update()
        row = (await self._connection.execute(query)).mappings().first()
        if row is None:
            raise UploadNotFoundError(upload_id)
        return _to_upload(row)

    async def list_page(
        self,
        collection_id: UUID,
        *,
        state: UploadState | None,
        path: str | None,
        limit: int,
        after: tuple[str, UUID] | None,
    ) -> list[Upload]:
        """By path; ``after`` is path and id of the last one of the page before."""
        query = select(uploads).where(uploads.c.collection_id == collection_id)
        query = query.order_by(uploads.c.path, uploads.c.id).limit(limit)
        if state is not None:
            query = query.where(uploads.c.state == state.value)
        if path is not None:
            query = query.where(uploads.c.path == path)
        if after is not None:
            query = query.where(
                (uploads.c.path > after[0]) | ((uploads.c.path == after[0]) & (uploads.c.id > after[1]))
            )
        return [_to_upload(row) for row in (await self._connection.execute(query)).mappings()]

    async def advance(self, upload_id: UUID, *, received: int, expiry_seconds: float) -> Upload:
        """Note what is kept of an unfinished one. Raises UploadNotFoundError if it was deleted meanwhile."""
        query = (
            update(uploads)
            .where(uploads.c.id == upload_id, uploads.c.state == UploadState.RECEIVING.value)
            .values(received=received, expires_at=_expiry(expiry_seconds))
        )
        row = (await self._connection.execute(query.returning(uploads))).mappings().first()
        if row is None:
            raise UploadNotFoundError(upload_id)
        return _to_upload(row)

    async def hold_source(self, source_id: UUID) -> None:
        """Have others wait that complete uploads of the same source."""
        query = select(sources.c.id).where(sources.c.id == source_id).with_for_update(key_share=True)
        await self._connection.execute(query)

    async def complete(self, upload_id: UUID, *, size: int, sha256: bytes) -> tuple[Upload, list[str]]:
        """Take the place of what was there under its path, whose names in the folder come beside.

        Raises:
            UploadNotFoundError: if it was deleted meanwhile.
        """
        found = select(uploads).where(uploads.c.id == upload_id, uploads.c.state == UploadState.RECEIVING.value)
        row = (await self._connection.execute(found.with_for_update())).mappings().first()
        if row is None:
            raise UploadNotFoundError(upload_id)
        gone = await self._connection.execute(
            delete(uploads)
            .where(
                uploads.c.source_id == row["source_id"],
                func.md5(uploads.c.path) == func.md5(row["path"]),
                uploads.c.state == UploadState.COMPLETE.value,
            )
            .returning(uploads.c.storage)
        )
        replaced = list(gone.scalars())
        done = (
            update(uploads)
            .where(uploads.c.id == upload_id)
            .values(
                state=UploadState.COMPLETE.value,
                size=size,
                received=size,
                sha256=sha256,
                expires_at=None,
                completed_at=func.now(),
            )
        )
        completed = (await self._connection.execute(done.returning(uploads))).mappings().one()
        return _to_upload(completed), replaced

    async def delete(self, upload_id: UUID) -> list[str]:
        """Delete one; its name in the folder."""
        query = delete(uploads).where(uploads.c.id == upload_id).returning(uploads.c.storage)
        return list((await self._connection.execute(query)).scalars())

    async def forget(self, ids: Sequence[UUID]) -> list[str]:
        """Delete those of these that are not complete; their names in the folder."""
        unfinished = (uploads.c.id.in_(ids)) & (uploads.c.state == UploadState.RECEIVING.value)
        query = delete(uploads).where(unfinished).returning(uploads.c.storage)
        return list((await self._connection.execute(query)).scalars())

    async def delete_some(self, *, collection_id: UUID, source_id: UUID | None) -> list[str]:
        """Delete some uploads of a collection, or of one source of it; their names, and none at the end."""
        some = select(uploads.c.id).where(uploads.c.collection_id == collection_id).limit(FILES_AT_ONCE)
        if source_id is not None:
            some = some.where(uploads.c.source_id == source_id)
        query = delete(uploads).where(uploads.c.id.in_(some)).returning(uploads.c.storage)
        return list((await self._connection.execute(query)).scalars())

    async def delete_expired(self, *, limit: int) -> list[str]:
        """Forget some that nobody has finished in time."""
        rows = await self._connection.execute(
            text(
                """DELETE FROM uploads WHERE id IN (
                       SELECT id FROM uploads WHERE state = 'receiving' AND expires_at < now()
                       ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED) RETURNING storage"""
            ),
            {"limit": limit},
        )
        return list(rows.scalars())

    async def count_expired(self) -> int:
        """How many nobody has finished in time."""
        count = await self._connection.scalar(
            text("SELECT count(*) FROM uploads WHERE state = 'receiving' AND expires_at < now()")
        )
        return int(count or 0)

    # files that no row knows

    async def find_unknown(self, names: Sequence[str]) -> list[str]:
        """Those of these names of files that no upload has."""
        rows = await self._connection.execute(
            parsed(
                """SELECT name FROM unnest(:names) AS given (name)
                   WHERE NOT EXISTS (SELECT 1 FROM uploads WHERE storage = name)""",
                names=TEXTS,
            ),
            {"names": list(names)},
        )
        return list(rows.scalars())

    async def note_unknown(self, names: Sequence[str]) -> None:
        """Remember since when each of these is unknown."""
        await self._connection.execute(
            parsed(
                """INSERT INTO unknown_uploads (name) SELECT name FROM unnest(:names) AS given (name)
                   ON CONFLICT DO NOTHING""",
                names=TEXTS,
            ),
            {"names": list(names)},
        )

    async def list_long_unknown(self, *, seconds: float, limit: int) -> list[str]:
        """Some that have been unknown for longer, and still are."""
        rows = await self._connection.execute(
            text(
                """SELECT name FROM unknown_uploads WHERE first_seen_at < now() - make_interval(secs => :seconds)
                   AND NOT EXISTS (SELECT 1 FROM uploads WHERE storage = name) ORDER BY first_seen_at LIMIT :limit"""
            ),
            {"seconds": seconds, "limit": limit},
        )
        return list(rows.scalars())

    async def forget_unknown(self, names: Sequence[str] = ()) -> None:
        """These are gone; what a row knows again is not unknown."""
        await self._connection.execute(
            parsed(
                """DELETE FROM unknown_uploads u WHERE name = ANY(:names)
                   OR EXISTS (SELECT 1 FROM uploads WHERE storage = u.name)""",
                names=TEXTS,
            ),
            {"names": list(names)},
        )


class UploadRows:
    """``UploadedFiles`` of one source."""

    def __init__(self, database: Database, source_id: UUID) -> None:
        self._database = database
        self._complete = (uploads.c.source_id == source_id) & (uploads.c.state == UploadState.COMPLETE.value)

    async def list_after(self, path: str, *, limit: int) -> Sequence[UploadedFile]:
        """See the port."""
        return await self._read(uploads.c.path > path, limit=limit)

    async def find(self, paths: Sequence[str]) -> Sequence[UploadedFile]:
        """See the port."""
        return await self._read(uploads.c.path.in_(paths), limit=len(paths))

    async def _read(self, condition: Any, *, limit: int) -> Sequence[UploadedFile]:  # noqa: ANN401 — SQLAlchemy's
        columns = (uploads.c.path, uploads.c.size, uploads.c.sha256, uploads.c.storage)
        query = select(*columns).where(self._complete, condition).order_by(uploads.c.path).limit(limit)
        async with self._database.begin() as connection:
            return [UploadedFile(**row) for row in (await connection.execute(query)).mappings()]
