"""Rows that tests of the line need, written directly."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql import bindparam
from sqlalchemy.types import Uuid

from app.bootstrap import Parts
from app.db.line import LineRepository
from app.domain.operations import Priority

AGING_SECONDS = 600.0


async def add_user(parts: Parts, name: str) -> UUID:
    """A user."""
    async with parts.database.begin() as connection:
        user_id = uuid4()
        await connection.execute(
            text("INSERT INTO users (id, name) VALUES (:id, :name)"), {"id": user_id, "name": f"{name}-{user_id}"}
        )
    return user_id


async def add_collection(parts: Parts, user_id: UUID) -> UUID:
    """An empty collection."""
    async with parts.database.begin() as connection:
        collection_id = uuid4()
        await connection.execute(
            text(
                """INSERT INTO collections (id, user_id, name, model, chunking)
                   VALUES (:id, :user, :name, 'wordllama', '{"strategy": "recursive", "size": 400, "overlap": 40}')"""
            ),
            {"id": collection_id, "user": user_id, "name": str(collection_id)},
        )
    return collection_id


async def add_operations(
    parts: Parts,
    user_id: UUID,
    collection_id: UUID | None,
    *,
    count: int = 1,
    writes: bool = False,
    priority: Priority = Priority.NORMAL,
    kind: str = "APPEND",
    age: timedelta = timedelta(),
) -> list[UUID]:
    """Pending operations, oldest first."""
    ids = [uuid4() for _ in range(count)]
    statement = text(
        """INSERT INTO operations (id, user_id, collection_id, kind, state, writes, config, priority, created_at,
               run_after)
           SELECT id, :user, :collection, :kind, 'pending', :writes, '{}', :priority, now() - CAST(:age AS interval),
               now() - CAST(:age AS interval)
           FROM unnest(:ids) WITH ORDINALITY AS given (id, place) ORDER BY place"""
    ).bindparams(bindparam("ids", type_=ARRAY(Uuid)))
    values = {
        "ids": ids,
        "user": user_id,
        "collection": collection_id,
        "kind": kind,
        "writes": writes,
        "priority": int(priority),
        "age": age,
    }
    async with parts.database.begin() as connection:
        await connection.execute(statement, values)
    return ids


async def add_worker(parts: Parts, *, slots: int, kinds: Sequence[str] = ("INDEX", "APPEND")) -> UUID:
    """A worker that has just beaten, without a session of its own."""
    worker_id = uuid4()
    async with parts.database.begin() as connection:
        await connection.execute(
            text(
                """INSERT INTO workers (id, name, version, kinds, slots, lease_seconds)
                   VALUES (:id, 'test', '0', :kinds, :slots, 60)"""
            ),
            {"id": worker_id, "kinds": list(kinds), "slots": slots},
        )
    return worker_id


async def pick(parts: Parts, *, lookahead: int = 0, without_workers: int = 0) -> list[UUID]:
    """Operations that start next, in order."""
    async with parts.database.begin() as connection:
        line = LineRepository(connection)
        await line.wait_for_turn()
        picked = await line.pick(lookahead=lookahead, without_workers=without_workers, aging_seconds=AGING_SECONDS)
    return [operation_id for operation_id, _ in picked or ()]
