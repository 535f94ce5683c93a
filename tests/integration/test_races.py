"""What meets at a bad moment: each of these once lost, doubled or kept something waiting for ever."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.bootstrap import Parts, running_worker
from app.db.attempts import AttemptRepository
from app.db.line import LineRepository
from app.domain.errors import LeaseLostError
from app.domain.operations import Lease, Operation, OperationKind, Submission
from app.jobs.context import JobContext
from app.operations.attempts import Attempts
from app.progress.reporter import replay
from tests.harness import Api, wait_until
from tests.operations.rows import add_collection, add_operations, add_user, add_worker, pick


def _attempts(parts: Parts) -> Attempts:
    return Attempts(parts.database, worker="test", kinds=["INDEX", "APPEND", "VERIFY"], lease_seconds=60)


async def _claim(parts: Parts, operation_id: UUID, *, dispatch: int = 1) -> Lease:
    claimed = await _attempts(parts).claim(operation_id, dispatch)
    assert claimed is not None
    assert claimed.lease_token is not None
    return Lease(operation_id=claimed.id, token=claimed.lease_token)


async def _final_events(parts: Parts, operation: dict[str, Any]) -> list[str]:
    namespace = parts.settings.redis_namespace
    events = await replay(parts.redis, UUID(operation["operation_id"]), None, namespace=namespace)
    return [event.type for event in events if event.is_final]


async def test_a_verification_that_ends_leaves_the_writers_documents_alone(
    api: Api, parts: Parts, folder: Path
) -> None:
    """A cancelled VERIFY beside an APPEND gives back nothing that the APPEND has in its hands."""
    gate = asyncio.Event()

    async def wait(context: JobContext, operation: Operation) -> dict[str, Any]:
        del context, operation
        await gate.wait()
        return {"documents_failed": 0}

    async with running_worker(parts):
        await api.wait(await api.create("notes", folder))
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE documents SET state = 'processing'"))
    async with running_worker(parts, jobs={OperationKind.VERIFY: wait}):
        body = {"kind": "VERIFY", "config": {}}
        looking = (await api.client.post("/api/v1/collections/notes/operations", json=body)).json()
        await api.wait(looking, states=["running"])
        await api.client.post(f"/api/v1/operations/{looking['operation_id']}/cancel")
        ended = await api.wait(looking)

    assert ended["state"] == "cancelled"
    assert {document["state"] for document in (await api.documents("notes")).values()} == {"processing"}
    assert await api.assert_consistent("notes") == 3


async def test_writing_does_not_hold_up_heartbeats_and_cancels(api: Api, parts: Parts, folder: Path) -> None:
    """Transactions under a lease that overlap without a gap let the lease be renewed; ending it waits for them."""
    operation = await api.create("notes", folder)
    lease = await _claim(parts, UUID(operation["operation_id"]))
    async with parts.database.fenced(lease):
        async with asyncio.timeout(20), parts.database.begin() as connection:
            beaten = await AttemptRepository(connection).beat([lease], lease_seconds=60)
        async with asyncio.timeout(20):
            await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
        ending = asyncio.create_task(_attempts(parts).cancel(lease))
        await asyncio.wait({ending}, timeout=0.3)
        waits_for_the_writer = not ending.done()
    ended = await ending

    assert lease.operation_id in beaten
    assert waits_for_the_writer
    assert ended is not None
    assert ended.state == "cancelled"


async def test_a_cancel_that_meets_a_put_back_is_carried_out(api: Api, parts: Parts, folder: Path) -> None:
    """An attempt that ends for another reason while its cancel is requested does not go back into the line."""
    operation = await api.create("notes", folder)
    lease = await _claim(parts, UUID(operation["operation_id"]))
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")

    put_back = await _attempts(parts).hand_back(lease, why="continues in the next slice", interrupted=False)

    assert put_back is not None
    assert put_back.state == "cancelled"
    assert (await api.get(operation))["finished_at"] is not None


async def test_a_pending_operation_that_was_to_be_cancelled_ends(api: Api, parts: Parts, folder: Path) -> None:
    """Whoever left it so, the reconciler ends it, and tells its watchers once."""
    operation = await api.create("notes", folder)
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE operations SET cancel_requested_at = now()"))

    await parts.dispatcher.reconcile()
    await parts.dispatcher.reconcile()

    assert (await api.get(operation))["state"] == "cancelled"
    assert await _final_events(parts, operation) == ["operation_cancelled"]


async def test_a_result_that_cannot_be_stored_fails_its_own_operation(api: Api, parts: Parts, folder: Path) -> None:
    """A result that is no JSON, or that Postgres refuses, ends the operation instead of being tried for ever."""

    async def answer(context: JobContext, operation: Operation) -> dict[str, Any]:
        del context
        return {"bad": object()} if operation.collection_name == "no json" else {"bad": "a NUL: \x00"}

    async with running_worker(parts, jobs={OperationKind.INDEX: answer}):
        ended = [await api.wait(await api.create(name, folder)) for name in ("no json", "nul")]

    assert [(operation["state"], operation["error_code"]) for operation in ended] == [("failed", "internal_error")] * 2


async def test_one_bad_outcome_does_not_spoil_the_others_of_its_moment(parts: Parts) -> None:
    """Of outcomes that are committed together, the one that Postgres refuses fails alone."""
    user = await add_user(parts, "a")
    ids = await add_operations(parts, user, await add_collection(parts, user), count=3)
    await add_worker(parts, slots=10)
    await pick(parts)
    attempts = _attempts(parts)
    leases = [await _claim(parts, operation_id) for operation_id in ids]

    async with asyncio.TaskGroup() as group:
        results: tuple[dict[str, Any], ...] = ({"n": 1}, {"n": "\x00"}, {"n": 3})
        tasks = [
            group.create_task(_outcome_of(attempts, lease, result))
            for lease, result in zip(leases, results, strict=True)
        ]

    assert [task.result() for task in tasks] == ["completed", "DBAPIError", "completed"]


async def _outcome_of(attempts: Attempts, lease: Lease, result: dict[str, Any]) -> str:
    try:
        ended = await attempts.complete(lease, result)
    except Exception as error:  # noqa: BLE001 — which kind it is, is the answer
        return type(error).__name__
    return "lost" if ended is None else ended.state.value


async def test_a_commit_without_an_answer_is_found_again(api: Api, parts: Parts, folder: Path) -> None:
    """When the final state was committed but nobody was told, the attempt finds it, and not an older one."""
    operation = await api.create("notes", folder)
    lease = await _claim(parts, UUID(operation["operation_id"]))
    await _attempts(parts).complete(lease, {"documents_failed": 0})

    again = await _attempts(parts).complete(lease, {"documents_failed": 0})
    found = await _attempts(parts).find_ended(lease, attempt=1)
    other = await _attempts(parts).find_ended(lease, attempt=2)

    assert again is None
    assert found is not None
    assert found.state == "completed"
    assert other is None


async def test_what_is_meant_for_later_holds_up_nobody(api: Api, parts: Parts, folder: Path, worker: None) -> None:
    """A writer scheduled for tomorrow does not keep today's from running."""
    await api.wait(await api.create("notes", folder))
    sources = (await api.client.get("/api/v1/collections/notes/sources")).json()["sources"]
    body = {
        "kind": "APPEND",
        "config": {"source_id": sources[0]["id"]},
        "run_after": "2099-01-01T00:00:00Z",
    }
    later = (await api.client.post("/api/v1/collections/notes/operations", json=body)).json()
    now = await api.wait(await api.append("notes"))

    assert now["state"] == "completed"
    assert (await api.get(later))["why_waiting"] == "not before 2099-01-01T00:00:00Z"


async def test_the_reason_to_wait_is_always_todays(api: Api, parts: Parts, folder: Path) -> None:
    """What watchers were told before is not taken for the reason of now."""
    operation = await api.create("notes", folder)
    await parts.dispatcher.reconcile()
    told = await api.get(operation)
    worker = await add_worker(parts, slots=0)
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE operations SET dispatched_at = NULL"))
    full = await api.get(operation)
    async with parts.database.begin() as connection:
        untold = await LineRepository(connection).list_untold(limit=10)
        again = await LineRepository(connection).list_untold(limit=10)

    assert "no worker" in told["why_waiting"]
    assert full["why_waiting"] == "all 0 slots of 1 workers are taken"
    assert [item.id for item in untold] == [UUID(operation["operation_id"])]
    assert again == []
    assert worker


async def test_an_attempt_whose_claim_was_answered_late_is_fenced_in_time(api: Api, parts: Parts, folder: Path) -> None:
    """The lease counts from when it was asked for: an attempt that is older than its fence writes nothing."""
    refused: list[str] = []

    async def write(context: JobContext, operation: Operation) -> dict[str, Any]:
        del operation
        async with parts.database.begin() as connection:
            # no heartbeat gets through, and the lease's time passes
            await connection.execute(text("LOCK TABLE workers IN ACCESS EXCLUSIVE MODE"))
            while not refused:
                try:
                    context.require_lease()
                except LeaseLostError as error:
                    refused.append(error.code)
                await asyncio.sleep(0.05)
        return {"documents_failed": 0}

    async with running_worker(parts, jobs={OperationKind.INDEX: write}):
        operation = await api.create("notes", folder)

        async def is_refused() -> bool:
            return bool(refused)

        await wait_until(is_refused)
        ended = await api.wait(operation, states=["pending", "failed", "completed"])

    assert refused == ["lease_lost"]
    assert ended["state"] in ("pending", "completed")


def test_a_submission_says_its_limit_only_if_it_has_one() -> None:
    """The config of an operation without a limit stays as it is."""
    assert Submission().limits() == {}
    assert Submission(max_runtime_seconds=5).limits() == {"max_runtime_seconds": 5}
