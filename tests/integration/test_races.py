"""What meets at a bad moment: each of these once lost, doubled or kept something waiting for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.bootstrap import Parts, running_worker
from app.db.attempts import AttemptRepository
from app.db.line import LineRepository
from app.db.operations import OperationRepository
from app.domain.errors import LeaseLostError, SliceEndedError
from app.domain.operations import Lease, Operation, OperationKind, OperationState, Submission
from app.domain.ports import OperationEvents, Reporter
from app.jobs.context import JobContext
from app.operations.attempts import Attempts
from app.progress.reporter import replay
from tests.harness import Api, wait_until
from tests.operations.rows import add_collection, add_operations, add_user, add_worker, pick


def _attempts(parts: Parts) -> Attempts:
    return Attempts(parts.database, worker="test", kinds=["INDEX", "APPEND", "VERIFY"], lease_seconds=60)


async def _claim(parts: Parts, operation_id: UUID) -> Lease:
    return (await _claim_whole(parts, operation_id))[1]


async def _claim_whole(parts: Parts, operation_id: UUID) -> tuple[Operation, Lease]:
    claimed = await _attempts(parts).claim(operation_id, 1)
    assert claimed is not None
    assert claimed.lease_token is not None
    return claimed, Lease(operation_id=claimed.id, token=claimed.lease_token)


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

    assert lease in beaten
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
    attempted, lease = await _claim_whole(parts, UUID(operation["operation_id"]))
    await _attempts(parts).complete(lease, {"documents_failed": 0})

    again = await _attempts(parts).complete(lease, {"documents_failed": 0})
    found = await _attempts(parts).find_ended(attempted)
    other = await _attempts(parts).find_ended(replace(attempted, attempt=2))

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


class SlowEvents:
    """Events of which one kind reaches Redis late, as when it is busy."""

    def __init__(self, inner: OperationEvents, *, late: str) -> None:
        self._inner = inner
        self._late = late

    def open(self, operation: Operation) -> AbstractAsyncContextManager[Reporter]:
        """See the port."""
        return self._open(operation)

    @asynccontextmanager
    async def _open(self, operation: Operation) -> AsyncIterator[Reporter]:
        async with self._inner.open(operation) as reporter:
            yield SlowReporter(reporter, late=self._late)

    async def forget(self, operation_id: UUID) -> None:
        """See the port."""
        await self._inner.forget(operation_id)


class SlowReporter:
    """See ``SlowEvents``."""

    def __init__(self, inner: Reporter, *, late: str) -> None:
        self._inner = inner
        self._late = late

    async def send_update(self, type: str, data: dict[str, Any]) -> None:  # noqa: A002 — the port's own word
        """See the port."""
        if type == self._late:
            await asyncio.sleep(0.9)
        await self._inner.send_update(type, data)


async def test_an_attempt_that_still_tells_its_end_does_not_take_the_next_one_with_it(
    api: Api, parts: Parts, folder: Path
) -> None:
    """The next slice begins on the same worker while the one before is still publishing, and its lease is kept."""
    held: list[bool] = []

    async def work_in_slices(context: JobContext, operation: Operation) -> dict[str, Any]:
        if operation.attempt == 1:
            raise SliceEndedError("its time is over")
        for _ in range(45):  # longer than a lease
            await asyncio.sleep(0.1)
            held.append(context.lease.token in {attempt.lease.token for attempt in runner.list_held()})
        return {"documents_failed": 0}

    slow = replace(parts, events=SlowEvents(parts.events, late="operation_queued"))
    async with running_worker(slow, jobs={OperationKind.INDEX: work_in_slices}) as runner:
        ended = await api.wait(await api.create("notes", folder))

    assert (ended["state"], ended["attempt"], ended["interruptions"]) == ("completed", 2, 0)
    assert all(held)


async def test_a_client_that_went_silent_in_a_transaction_holds_up_only_its_own(parts: Parts) -> None:
    """The operations of others are taken back at once, its own as soon as Postgres has ended the transaction."""
    user = await add_user(parts, "a")
    ids = [(await add_operations(parts, user, await add_collection(parts, user), writes=True))[0] for _ in range(3)]
    await add_worker(parts, slots=10)
    await pick(parts)
    leases = [await _claim(parts, operation_id) for operation_id in ids]

    async def taken() -> set[UUID]:
        await parts.dispatcher.take_back()
        async with parts.database.begin() as connection:
            rows = await connection.execute(text("SELECT id FROM operations WHERE state = 'pending'"))
            return {row.id for row in rows}

    async with parts.database.begin() as connection:
        await AttemptRepository(connection).expire_leases()
    with suppress(DBAPIError):  # what the silent client finds when it wakes
        async with parts.database.begin() as silent:
            await silent.execute(text("SET LOCAL idle_in_transaction_session_timeout = '4s'"))
            await silent.execute(text("SELECT 1 FROM operations WHERE id = :id FOR KEY SHARE"), {"id": ids[0]})
            meanwhile = await taken()
            await wait_until(lambda: _is_pending(parts, leases[0]), seconds=30)

    assert meanwhile == set(ids[1:])


async def _is_pending(parts: Parts, lease: Lease) -> bool:
    await parts.dispatcher.take_back()
    async with parts.database.begin() as connection:
        operation = await OperationRepository(connection).get(lease.operation_id)
    return operation.state is OperationState.PENDING


async def test_postgres_ends_transactions_of_clients_that_went_silent(parts: Parts) -> None:
    """Sooner than a default lease, and statements as well."""
    async with parts.database.begin() as connection:
        silence = await connection.scalar(text("SELECT current_setting('idle_in_transaction_session_timeout')"))
        statement = await connection.scalar(text("SELECT current_setting('statement_timeout')"))

    assert (silence, statement) == ("10s", "1min")


async def test_an_end_that_somebody_else_committed_is_told_once(api: Api, parts: Parts, folder: Path) -> None:
    """An attempt whose commit got no answer does not take the end that a take-back made for its own."""
    operation = await api.create("notes", folder)
    attempted, lease = await _claim_whole(parts, UUID(operation["operation_id"]))
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    async with parts.database.begin() as connection:
        await AttemptRepository(connection).expire_leases()
    await parts.dispatcher.take_back()

    late = await _attempts(parts).cancel(lease)
    found = await _attempts(parts).find_ended(attempted)

    assert (await api.get(operation))["state"] == "cancelled"
    assert await _final_events(parts, operation) == ["operation_cancelled"]
    assert (late, found) == (None, None)


async def test_a_cancelled_attempt_does_not_tell_of_its_failure(api: Api, parts: Parts, folder: Path) -> None:
    """A failure that meets a cancel leaves a cancelled operation without an error."""
    operation = await api.create("notes", folder)
    lease = await _claim(parts, UUID(operation["operation_id"]))
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")

    ended = await _attempts(parts).retry_later(lease, delay_seconds=1, code="embedder_unavailable", message="away")

    assert ended is not None
    assert (ended.state, ended.error_code, ended.error_message) == (OperationState.CANCELLED, None, None)


async def test_a_long_line_is_asked_why_it_waits_in_linear_time(parts: Parts) -> None:
    """Rows that are looked at grow with the length of a collection's line, not with its square."""
    user = await add_user(parts, "a")
    looked_at = []
    for count in (200, 600):
        await add_operations(parts, user, await add_collection(parts, user), count=count, writes=True)
        async with parts.database.begin() as connection:
            await connection.execute(text("ANALYZE operations"))
        async with parts.database.begin() as connection:
            untold = await LineRepository(connection).list_untold(limit=10_000)
        async with parts.database.begin() as connection:
            again = await LineRepository(connection).list_untold(limit=10_000)
            rows = await connection.scalar(
                text(
                    """SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))
                       FROM pg_stat_xact_user_tables WHERE relname = 'operations'"""
                )
            )
        assert (len(untold), again) == (count, [])
        looked_at.append(int(rows or 0))

    assert 0 < looked_at[1] < 800 / 200 * 2 * looked_at[0]
