"""Rows of ``audit_log``. The row of an operation's end is written by Postgres; see ``docs/decisions/0027``."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import RowMapping, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.database import Database
from app.db.statements import parsed
from app.db.tables import audit_log
from app.domain.audit import Actor, ActorKind, AuditEntry, AuditFilter, Subject, current_actor
from app.domain.collections import Collection
from app.domain.documents import Source
from app.domain.operations import Operation
from app.domain.sanitising import SECRET, is_secret_name, sanitise

LONGEST_TEXT = 500
MOST_ITEMS = 50
QUICK_BYTES = 2000
"""Cleaning a larger value would hold the event loop up."""
ROWS_PER_TRIM = 5000


async def record(
    connection: AsyncConnection,
    action: str,
    about: Collection | Source | Operation | Subject,
    *,
    collection: Collection | None = None,
    owner_id: UUID | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write down a change in the transaction that makes it: neither is there without the other.

    Args:
        connection: of that transaction.
        action: ``thing.done``, as ``source.removed``.
        about: what was changed.
        collection: which one it belongs to, where ``about`` does not say so.
        owner_id: whose it is, where neither says so.
        before: settings that were changed, as they were.
        after: the same, as they are now. Secrets are taken out of both.
    """
    actor = current_actor()
    values = {
        "action": action,
        "actor_kind": actor.kind.value,
        "actor_id": actor.id,
        "actor_name": actor.name,
        "key_id": actor.key_id,
        "key_name": actor.key_name,
        "address": actor.address,
        "request_id": actor.request_id,
        "before": await _clean(before),
        "after": await _clean(after),
        "owner_id": owner_id,
        **({} if collection is None else _of_collection(collection)),
        **_describe(about),
    }
    await connection.execute(insert(audit_log).values(values))


def _of_collection(collection: Collection) -> dict[str, Any]:
    return {"owner_id": collection.user_id, "collection_id": collection.id, "collection_name": collection.name}


def _describe(about: Collection | Source | Operation | Subject) -> dict[str, Any]:
    if isinstance(about, Collection):
        return {**_of_collection(about), **_subject("collection", about.id, about.name)}
    if isinstance(about, Source):
        return _subject("source", about.id, about.url)
    if isinstance(about, Subject):
        return _subject(about.kind, about.id, about.name)
    return {
        "owner_id": about.user_id,
        "collection_id": about.collection_id,
        "collection_name": about.collection_name or None,
        "operation_id": about.id,
        "operation_kind": about.kind.value,
        **_subject("operation", about.id, about.kind.value),
    }


def _subject(kind: str, subject_id: UUID, name: str) -> dict[str, Any]:
    return {"subject_kind": kind, "subject_id": subject_id, "subject_name": sanitise(name, longest=LONGEST_TEXT)}


async def _clean(settings: Mapping[str, Any] | None) -> Any:  # noqa: ANN401 — JSON
    if settings is None:
        return None
    if len(orjson.dumps(settings, default=str, option=orjson.OPT_NON_STR_KEYS)) <= QUICK_BYTES:
        return clean(settings)
    return await asyncio.to_thread(clean, settings)


def clean(value: Any) -> Any:  # noqa: ANN401 — JSON
    """A value as JSON without secrets and personal data, and not too long."""
    if isinstance(value, Mapping):
        pairs = list(value.items())[:MOST_ITEMS]
        return {str(name): SECRET if is_secret_name(str(name)) and item else clean(item) for name, item in pairs}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [clean(item) for item in value[:MOST_ITEMS]]
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return sanitise(str(value.value if isinstance(value, Enum) else value), longest=LONGEST_TEXT)


def _to_entry(row: RowMapping) -> AuditEntry:
    actor = Actor(
        kind=ActorKind(row["actor_kind"]),
        id=row["actor_id"],
        name=row["actor_name"],
        **{name: row[name] for name in ("key_id", "key_name", "address", "request_id")},
    )
    names = ("id", "at", "action", "collection_id", "collection_name", "operation_id", "operation_kind")
    subject = ("subject_kind", "subject_id", "subject_name", "before", "after")
    return AuditEntry(actor=actor, **{name: row[name] for name in (*names, *subject)})


class AuditRepository:
    """Reads what was written down; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def list_page(
        self, owner_id: UUID, wanted: AuditFilter, *, limit: int, after: int | None
    ) -> list[AuditEntry]:
        """Newest first; ``after`` is the id of the last one of the page before."""
        log = audit_log.c
        query = select(audit_log).where(log.owner_id == owner_id).order_by(log.id.desc()).limit(limit)
        if wanted.collection is not None:
            query = query.where(_is_collection(wanted.collection))
        if wanted.operation_id is not None:
            query = query.where(log.operation_id == wanted.operation_id)
        if wanted.action is not None:
            query = query.where(log.action == wanted.action)
        if wanted.since is not None:
            query = query.where(log.at >= wanted.since)
        if wanted.until is not None:
            query = query.where(log.at < wanted.until)
        if after is not None:
            query = query.where(log.id < after)
        return [_to_entry(row) for row in (await self._connection.execute(query)).mappings()]

    async def drop_oldest(self, *, keep_days: int, rows: int) -> int:
        """Drop those of the ``rows`` oldest that are older than that; how many they were."""
        dropped = await self._connection.execute(
            parsed(
                """DELETE FROM audit_log WHERE at < now() - make_interval(days => :days)
                   AND id IN (SELECT id FROM audit_log ORDER BY id LIMIT :rows)"""
            ),
            {"days": keep_days, "rows": rows},
        )
        return dropped.rowcount


def _is_collection(id_or_name: str) -> Any:  # noqa: ANN401 — SQLAlchemy's condition
    try:
        return (audit_log.c.collection_id == UUID(id_or_name)) | (audit_log.c.collection_name == id_or_name)
    except ValueError:
        return audit_log.c.collection_name == id_or_name


async def trim_audit_log(database: Database, *, keep_days: int) -> int:
    """Drop what is older than that, some thousand rows a transaction; 0 days keep everything. How many they were."""
    total, dropped = 0, ROWS_PER_TRIM
    while keep_days and dropped == ROWS_PER_TRIM:
        async with database.begin() as connection:
            dropped = await AuditRepository(connection).drop_oldest(keep_days=keep_days, rows=ROWS_PER_TRIM)
        total += dropped
    return total
