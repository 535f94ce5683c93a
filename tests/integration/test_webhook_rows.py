"""Each end of an operation, wherever it comes from, is one delivery to each webhook that wants it, and one entry."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from app.db.attempts import AttemptRepository
from app.db.operations import OperationRepository
from app.domain.operations import Lease
from app.operations.attempts import Attempts
from tests.operations.rows import add_collection, add_operations, add_user

ALL = ("completed", "failed", "cancelled")


async def add_webhook(
    parts: Parts, user_id: UUID, *events: str, collection_id: UUID | None = None, disabled: bool = False
) -> UUID:
    """A webhook that nobody will be able to send to."""
    webhook_id = uuid4()
    async with parts.database.begin() as connection:
        await connection.execute(
            text(
                """INSERT INTO webhooks (id, user_id, url, events, collection_id, secret, disabled_at)
                   VALUES (:id, :user, 'http://a.invalid', :events, :collection, '', CASE WHEN :off THEN now() END)"""
            ),
            {
                "id": webhook_id,
                "user": user_id,
                "events": list(events or ALL),
                "collection": collection_id,
                "off": disabled,
            },
        )
    return webhook_id


async def read_rows(parts: Parts) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Deliveries and entries of ends."""
    async with parts.database.begin() as connection:
        deliveries = await connection.execute(text("SELECT * FROM webhook_deliveries"))
        entries = await connection.execute(text("SELECT * FROM audit_log WHERE action = 'operation.finished'"))
        return [dict(row) for row in deliveries.mappings()], [dict(row) for row in entries.mappings()]


def attempts_of(parts: Parts) -> Attempts:
    """Transitions of a worker's operations."""
    return Attempts(parts.database, worker="tester:1", kinds=["APPEND"], lease_seconds=60)


async def claim(parts: Parts, operation_id: UUID) -> Lease:
    """Start an attempt."""
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE operations SET dispatch = 1, dispatched_at = now()"))
    claimed = await attempts_of(parts).claim(operation_id, 1)
    assert claimed is not None
    assert claimed.lease_token is not None
    return Lease(operation_id=operation_id, token=claimed.lease_token)


async def ask_cancel(parts: Parts, operation_id: UUID) -> None:
    """What a user's cancel does."""
    async with parts.database.begin() as connection:
        await OperationRepository(connection).request_cancel(operation_id)


async def expire(parts: Parts) -> None:
    """Have every lease run out."""
    async with parts.database.begin() as connection:
        await AttemptRepository(connection).expire_leases()


async def complete(parts: Parts, operation_id: UUID) -> None:
    """Its worker has done it."""
    await attempts_of(parts).complete(await claim(parts, operation_id), {"documents_failed": 2})


async def fail(parts: Parts, operation_id: UUID) -> None:
    """Its worker could not do it."""
    lease = await claim(parts, operation_id)
    await attempts_of(parts).fail(lease, code="unknown_model", message="no", retryable=False)


async def cancel_running(parts: Parts, operation_id: UUID) -> None:
    """Its worker was told to stop."""
    lease = await claim(parts, operation_id)
    await ask_cancel(parts, operation_id)
    await attempts_of(parts).cancel(lease)


async def cancel_waiting(parts: Parts, operation_id: UUID) -> None:
    """No worker had it."""
    await ask_cancel(parts, operation_id)


async def cancel_on_its_way_back(parts: Parts, operation_id: UUID) -> None:
    """Its worker hands it back at the moment it is cancelled."""
    lease = await claim(parts, operation_id)
    await ask_cancel(parts, operation_id)
    await attempts_of(parts).hand_back(lease, why=None, interrupted=True)


async def cancel_of_a_dead_worker(parts: Parts, operation_id: UUID) -> None:
    """Nobody answers the cancel but the reconciler."""
    await claim(parts, operation_id)
    await ask_cancel(parts, operation_id)
    await expire(parts)
    await parts.dispatcher.reconcile()


async def cancel_that_was_overlooked(parts: Parts, operation_id: UUID) -> None:
    """It waits although its cancel was requested."""
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE operations SET cancel_requested_at = now()"))
    await parts.dispatcher.reconcile()


async def die_too_often(parts: Parts, operation_id: UUID) -> None:
    """The reconciler gives it up."""
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE operations SET interruptions = 10"))
    await claim(parts, operation_id)
    await expire(parts)
    await parts.dispatcher.reconcile()


ENDS: list[tuple[Callable[[Parts, UUID], Awaitable[None]], str, str]] = [
    (complete, "completed", "worker"),
    (fail, "failed", "worker"),
    (cancel_running, "cancelled", "worker"),
    (cancel_waiting, "cancelled", "user"),
    (cancel_on_its_way_back, "cancelled", "worker"),
    (cancel_of_a_dead_worker, "cancelled", "worker"),
    (cancel_that_was_overlooked, "cancelled", "worker"),
    (die_too_often, "failed", "worker"),
]


@pytest.mark.parametrize(("end", "state", "who"), ENDS, ids=[end.__name__ for end, _, _ in ENDS])
async def test_every_end_is_one_delivery_and_one_entry(
    parts: Parts, end: Callable[[Parts, UUID], Awaitable[None]], state: str, who: str
) -> None:
    """Whoever ends it, there is exactly one of each; reconciling again adds nothing."""
    user_id = await add_user(parts, "ann")
    collection_id = await add_collection(parts, user_id)
    [operation_id] = await add_operations(parts, user_id, collection_id, writes=True)
    webhook_id = await add_webhook(parts, user_id)

    await end(parts, operation_id)
    await parts.dispatcher.reconcile()

    [delivery], [entry] = await read_rows(parts)
    assert (delivery["webhook_id"], delivery["operation_id"]) == (webhook_id, operation_id)
    assert (delivery["event"], delivery["state"]) == (f"operation.{state}", "pending")
    assert delivery["payload"]["type"] == f"operation.{state}"
    data = delivery["payload"]["data"]
    assert (data["operation_id"], data["state"], data["kind"]) == (str(operation_id), state, "APPEND")
    assert (data["collection_id"], data["collection"]) == (str(collection_id), str(collection_id))
    assert (entry["owner_id"], entry["actor_kind"], entry["after"]["state"]) == (user_id, who, state)


async def test_operations_that_end_in_one_statement_are_told_one_by_one(parts: Parts) -> None:
    """Also by a worker of a version that knows nothing of webhooks."""
    user_id = await add_user(parts, "ann")
    ids = await add_operations(parts, user_id, await add_collection(parts, user_id), count=20)
    await add_webhook(parts, user_id)
    await add_webhook(parts, user_id)

    async with parts.database.begin() as connection:
        await connection.execute(
            text("UPDATE operations SET state = 'completed', finished_at = now() WHERE state = 'pending'")
        )
        await connection.execute(text("UPDATE operations SET state = 'completed'"))

    deliveries, entries = await read_rows(parts)
    assert sorted(row["operation_id"] for row in deliveries) == sorted(ids * 2)
    assert {row["operation_id"] for row in entries} == set(ids)


async def test_only_who_wants_an_end_is_told(parts: Parts) -> None:
    """By event, collection and user; a disabled webhook is told nothing."""
    ann, bob = await add_user(parts, "ann"), await add_user(parts, "bob")
    here, there = await add_collection(parts, ann), await add_collection(parts, ann)
    [operation_id] = await add_operations(parts, ann, here)
    wanted = {
        await add_webhook(parts, ann),
        await add_webhook(parts, ann, "failed", "cancelled"),
        await add_webhook(parts, ann, "failed", collection_id=here),
    }
    await add_webhook(parts, ann, "completed")
    await add_webhook(parts, ann, collection_id=there)
    await add_webhook(parts, ann, disabled=True)
    await add_webhook(parts, bob)

    await fail(parts, operation_id)

    deliveries, _ = await read_rows(parts)
    assert {row["webhook_id"] for row in deliveries} == wanted
    assert len(deliveries) == len(wanted)


async def test_an_end_that_is_rolled_back_is_told_nobody(parts: Parts) -> None:
    """Neither row is there without the end."""
    user_id = await add_user(parts, "ann")
    [operation_id] = await add_operations(parts, user_id, await add_collection(parts, user_id))
    await add_webhook(parts, user_id)

    async def cancel_and_break() -> None:
        async with parts.database.begin() as connection:
            await OperationRepository(connection).request_cancel(operation_id)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await cancel_and_break()

    assert await read_rows(parts) == ([], [])


async def test_a_retried_operation_ends_again(parts: Parts) -> None:
    """Each of its ends is told; going back into the line is none."""
    user_id = await add_user(parts, "ann")
    [operation_id] = await add_operations(parts, user_id, await add_collection(parts, user_id))
    await add_webhook(parts, user_id)

    await ask_cancel(parts, operation_id)
    async with parts.database.begin() as connection:
        await OperationRepository(connection).restart(operation_id)
    lease = await claim(parts, operation_id)
    await attempts_of(parts).hand_back(lease, why=None, interrupted=False)
    await complete(parts, operation_id)

    deliveries, entries = await read_rows(parts)
    assert sorted(row["event"] for row in deliveries) == ["operation.cancelled", "operation.completed"]
    assert len(entries) == 2
