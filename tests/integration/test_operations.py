"""The life of operations, against real Postgres and Valkey."""

import asyncio
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from app.bootstrap import Parts, configured_endpoints, open_parts, running_worker
from app.domain.errors import LeaseLostError
from app.domain.operations import Lease
from app.operations.attempts import Attempts
from app.operations.collections import IdentityService
from app.progress.reporter import replay
from app.settings import Settings
from benchmarks.corpus import write_corpus
from tests.harness import Api, open_client, wait_until


def _attempts(parts: Parts) -> Attempts:
    return Attempts(parts.database, worker="test", kinds=["INDEX", "APPEND"], lease_seconds=20)


async def _claim(parts: Parts, operation: dict[str, str], *, dispatch: int = 1) -> Lease:
    claimed = await _attempts(parts).claim(UUID(operation["operation_id"]), dispatch)
    assert claimed is not None
    assert claimed.lease_token is not None
    return Lease(operation_id=claimed.id, token=claimed.lease_token)


async def test_chunks_are_as_the_server_is_set(settings: Settings, folder: Path) -> None:
    """What a request does not say comes from the settings, also if it says something else of chunks."""
    changed = settings.model_copy(update={"chunk_size": 120, "chunk_overlap": 30})
    async with open_parts(changed, configured_endpoints(changed)) as parts, open_client(parts) as api:
        await api.create("usual", folder)
        await api.create("strategy", folder, chunk_strategy="markdown")
        await api.create("overlap", folder, chunk_overlap=100)
        body = {"name": "wrong", "chunk_overlap": 120}
        wrong = await api.client.post("/api/v1/collections", json=body)
        listed = (await api.client.get("/api/v1/collections")).json()["collections"]

    chunks = {item["name"]: (item["chunking"]["size"], item["chunking"]["overlap"]) for item in listed}
    assert chunks == {"usual": (120, 30), "strategy": (120, 30), "overlap": (120, 100)}
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")


async def test_an_operation_is_claimed_once(api: Api, parts: Parts, folder: Path) -> None:
    """The second delivery of the same dispatch is stale."""
    operation = await api.create("notes", folder)

    await _claim(parts, operation)
    second = await _attempts(parts).claim(UUID(operation["operation_id"]), 1)

    assert second is None


async def test_a_stale_dispatch_number_cannot_claim(api: Api, parts: Parts, folder: Path) -> None:
    """Only the newest dispatch of a pending operation starts an attempt."""
    operation = await api.create("notes", folder)

    stale = await _attempts(parts).claim(UUID(operation["operation_id"]), 0)

    assert stale is None


async def test_writers_of_a_collection_wait_in_order(api: Api, parts: Parts, folder: Path) -> None:
    """A later writer stays pending, says behind whom, and is next when the first has ended."""
    first = await api.create("notes", folder)
    second = await api.append("notes")

    waiting = await api.get(second)
    lease = await _claim(parts, first)
    blocked = await _attempts(parts).claim(UUID(second["operation_id"]), 1)
    await _attempts(parts).complete(lease, {})
    await parts.dispatcher.pump()
    dispatched = await api.get(second)

    assert first["operation_id"] in waiting["why_waiting"]
    assert blocked is None
    assert "no worker" in dispatched["why_waiting"]
    assert await _attempts(parts).claim(UUID(second["operation_id"]), 1) is not None


async def test_the_database_itself_allows_one_writer(api: Api, parts: Parts, folder: Path) -> None:
    """Two running writers of one collection violate a unique index, whatever the code does."""
    first = await api.create("notes", folder)
    second = await api.append("notes")
    await _claim(parts, first)

    with pytest.raises(Exception, match="uq_operations_one_writer"):
        async with parts.database.begin() as connection:
            await connection.execute(
                text("UPDATE operations SET state = 'running' WHERE id = :id"), {"id": second["operation_id"]}
            )


async def test_a_lost_lease_cannot_write(api: Api, parts: Parts, folder: Path) -> None:
    """After another worker took over, the first attempt's transactions and its outcome are refused."""
    operation = await api.create("notes", folder)
    lease = await _claim(parts, operation)
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE operations SET lease_until = now() - interval '1 second'"))

    await parts.dispatcher.reconcile()
    outcome = await _attempts(parts).complete(lease, {"documents": 1})
    with pytest.raises(LeaseLostError):
        async with parts.database.fenced(lease):
            pass

    assert outcome is None
    assert (await api.get(operation))["state"] == "pending"


async def test_an_enqueue_that_got_lost_is_healed(api: Api, parts: Parts, folder: Path) -> None:
    """With all of Redis flushed, the reconciler of a worker dispatches the operation again."""
    operation = await api.create("notes", folder)
    await parts.redis.flushdb()

    async with running_worker(parts):
        ended = await api.wait(operation)

    assert ended["state"] == "completed"


async def test_an_operation_that_always_kills_its_worker_fails(api: Api, parts: Parts, folder: Path) -> None:
    """Taken back too often, an operation ends as failed instead of going round for ever."""
    operation = await api.create("notes", folder)
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE operations SET interruptions = 10"))
    await _claim(parts, operation)
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE operations SET lease_until = now() - interval '1 second'"))

    await parts.dispatcher.reconcile()
    ended = await api.get(operation)

    assert ended["state"] == "failed"
    assert ended["error_code"] == "interrupted_too_often"


async def test_a_pending_operation_is_cancelled_at_once(api: Api, folder: Path) -> None:
    """Without any worker, cancel ends a pending operation, and a second cancel says that it has ended."""
    operation = await api.create("notes", folder)

    cancelled = await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    again = await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")

    assert cancelled.json()["state"] == "cancelled"
    assert again.status_code == 409
    assert again.json()["code"] == "operation_finished"


async def test_a_cancelled_operation_can_be_retried(api: Api, parts: Parts, folder: Path) -> None:
    """Retry continues the same operation to its end."""
    operation = await api.create("notes", folder)
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")

    retried = await api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
    async with running_worker(parts):
        ended = await api.wait(operation)

    assert retried.status_code == 202
    assert ended["state"] == "completed"
    assert await api.search("notes", "whales")


async def test_an_append_after_a_cancelled_index_makes_the_collection(api: Api, parts: Parts, folder: Path) -> None:
    """A collection whose INDEX never ran is not a dead end: the next APPEND creates its generation."""
    operation = await api.create("notes", folder)
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")

    appended = await api.append("notes")
    async with running_worker(parts):
        ended = await api.wait(appended)

    assert ended["state"] == "completed"
    assert ended["result"]["documents_added"] == 3
    assert await api.search("notes", "whales")
    assert await api.assert_consistent("notes") == 3


async def test_the_same_idempotency_key_gives_the_same_operation(api: Api, folder: Path) -> None:
    """Submitting twice creates one collection and one operation."""
    body = {"name": "notes", "sources": [{"url": folder.as_uri()}]}
    headers = {"Idempotency-Key": "once"}

    first = await api.client.post("/api/v1/collections", json=body, headers=headers)
    second = await api.client.post("/api/v1/collections", json=body, headers=headers)

    assert first.json()["operation"]["operation_id"] == second.json()["operation"]["operation_id"]


async def test_the_same_create_twice_at_once_gives_one_operation(api: Api, folder: Path) -> None:
    """Of two equal requests that race, the slower one is given what the faster one made."""
    body = {"name": "notes", "sources": [{"url": folder.as_uri()}]}
    headers = {"Idempotency-Key": "once"}

    async with asyncio.TaskGroup() as group:
        calls = [
            group.create_task(api.client.post("/api/v1/collections", json=body, headers=headers)) for _ in range(6)
        ]
    answers = [call.result() for call in calls]

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["operation"]["operation_id"] for answer in answers}) == 1


async def test_an_unknown_model_fails_for_good(api: Api, folder: Path, worker: None) -> None:
    """A model nobody serves is a permanent error with a stable code, not a retry."""
    operation = await api.create("notes", folder, model="no-such-model")

    ended = await api.wait(operation)

    assert ended["state"] == "failed"
    assert ended["error_code"] == "unknown_model"
    assert ended["retryable"] is False


async def test_a_missing_folder_fails_with_its_code(api: Api, tmp_path: Path, worker: None) -> None:
    """A source that is not there is named, and the operation ends."""
    operation = await api.create("notes", tmp_path / "nowhere")

    ended = await api.wait(operation)

    assert ended["state"] == "failed"
    assert ended["error_code"] == "source_not_found"


async def test_somebody_elses_operation_does_not_exist(api: Api, parts: Parts, folder: Path) -> None:
    """Another user's key sees 404, not 403."""
    operation = await api.create("notes", folder)
    other = await IdentityService(parts.database).issue_key("other", name="test")
    answer = await api.client.get(
        f"/api/v1/operations/{operation['operation_id']}", headers={"Authorization": f"Bearer {other}"}
    )

    assert answer.status_code == 404
    assert answer.json()["code"] == "operation_not_found"


async def test_every_operation_tells_its_story_in_its_stream(
    api: Api, parts: Parts, folder: Path, worker: None
) -> None:
    """The stream of a completed INDEX begins queued or started and ends with exactly one final event."""
    operation = await api.create("notes", folder)
    await api.wait(operation)

    async def final() -> list[str] | None:
        events = await replay(
            parts.redis, UUID(operation["operation_id"]), None, namespace=parts.settings.redis_namespace
        )
        types = [event.type for event in events]
        return types if "operation_completed" in types else None

    types = await wait_until(final)

    assert types.count("operation_completed") == 1
    assert types[-1] == "operation_completed"
    assert {"operation_started", "scanning_documents", "scanning_completed", "index_completed"} <= set(types)


async def test_a_running_operation_is_cancelled_and_can_go_on(
    api: Api, parts: Parts, worker: None, tmp_path: Path
) -> None:
    """Cancel in the middle keeps what is done consistent; retry finishes the rest without doing it again."""
    root = tmp_path / "corpus"
    write_corpus(root, 400)
    operation = await api.create("corpus", root)

    async def is_under_way() -> bool:
        async with parts.database.begin() as connection:
            done = await connection.scalar(text("SELECT count(*) FROM documents WHERE state = 'completed'"))
        return bool(done)

    await wait_until(is_under_way)
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    cancelled = await api.wait(operation)
    done_before = (await api.client.get("/api/v1/collections/corpus")).json()["documents"]["completed"]
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
    ended = await api.wait(operation)

    assert cancelled["state"] == "cancelled"
    assert 0 < done_before < 400
    assert ended["state"] == "completed"
    assert ended["result"]["documents_added"] == 400
    assert ended["result"]["stages"]["read"]["items"] == 400
    assert ended["result"]["chunks"] == await api.assert_consistent("corpus")
    assert (await api.client.get("/api/v1/collections/corpus")).json()["documents"] == {"completed": 400}
    await api.assert_consistent("corpus")
