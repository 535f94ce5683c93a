"""What is asked to stop does stop, also when a library forgets that it was asked."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import text

from app.bootstrap import Parts, replacing_worker, running_worker
from app.db.guard import WorkerGuard
from app.domain.errors import LeaseLostError
from app.domain.operations import Lease, LeaseAnswer, Operation, OperationKind
from app.jobs.context import JobContext
from tests.harness import Api, wait_until


async def _is_cancelled(call: Callable[[], Any], *, after: float) -> bool:
    """Whether a task that makes calls for ever ends when it is cancelled once."""

    async def go_on() -> None:
        while not asked:
            await call()

    asked = False
    task = asyncio.create_task(go_on())
    await asyncio.sleep(after)
    asked = True
    task.cancel()
    await asyncio.wait({task})
    return task.cancelled()


async def test_redis_never_swallows_a_cancellation(parts: Parts) -> None:
    """A task cancelled at any moment of a Redis call, connecting included, ends as cancelled."""
    chance = random.Random(7)  # noqa: S311 — spreads moments
    forgotten = 0
    for turn in range(1000):
        if turn % 2:
            await parts.redis.connection_pool.disconnect()
        forgotten += not await _is_cancelled(parts.redis.ping, after=chance.uniform(0, 0.003))

    assert forgotten == 0
    assert await parts.redis.ping()


async def test_a_job_that_forgets_a_cancellation_is_cancelled_again(api: Api, parts: Parts, folder: Any) -> None:
    """A user's cancel ends the operation although the job lost the first cancellation."""
    forgotten = 0

    async def forgetful(context: JobContext, operation: Operation) -> dict[str, Any]:
        nonlocal forgotten
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                forgotten += 1
                if forgotten > 1:
                    raise

    operation = await api.create("notes", folder)

    async with running_worker(parts, jobs={OperationKind.INDEX: forgetful}):

        async def is_running() -> bool:
            return bool((await api.get(operation))["state"] == "running")

        await wait_until(is_running)
        await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
        ended = await api.wait(operation)

    assert ended["state"] == "cancelled"
    assert forgotten == 2


async def test_a_job_that_never_stops_is_fenced_and_its_worker_asks_to_be_replaced(
    api: Api, parts: Parts, folder: Any
) -> None:
    """After ten seconds of cancelling nobody waits for it; it owns nothing any more, and the cancel is carried out."""
    let_go = asyncio.Event()
    errors: list[Exception] = []

    async def stubborn(context: JobContext, _: Operation) -> dict[str, Any]:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        try:
            context.require_lease()
        except LeaseLostError as error:
            errors.append(error)
        return {}

    async with running_worker(parts, jobs={OperationKind.INDEX: stubborn}) as runner:
        operation = await api.create("notes", folder)
        await api.wait(operation, states=["running"])
        await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
        await asyncio.wait_for(runner.broken.wait(), timeout=60)
        ended = await api.wait(operation)
        let_go.set()

        async def has_found_out() -> bool:
            return bool(errors)

        await wait_until(has_found_out)

    assert ended["state"] == "cancelled"


async def test_a_broken_worker_is_replaced_where_nobody_else_would(api: Api, parts: Parts, folder: Any) -> None:
    """On a laptop there is no supervisor: a new worker on the same event loop goes on with the operation."""
    let_go = asyncio.Event()

    async def stubborn_once(context: JobContext, operation: Operation) -> dict[str, Any]:
        del context
        while operation.collection_name == "notes" and operation.attempt == 1 and not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return {"documents_failed": 0}

    async with replacing_worker(parts, jobs={OperationKind.INDEX: stubborn_once}):
        operation = await api.create("notes", folder)
        await api.wait(operation, states=["running"])
        async with parts.database.begin() as connection:
            # as if somebody had taken its lease
            await connection.execute(text("UPDATE operations SET lease_token = gen_random_uuid()"))
        ended = await api.wait(operation)

        async def is_replaced() -> bool:
            workers = (await api.client.get("/api/v1/workers")).json()["workers"]
            return [worker["alive"] for worker in workers] == [True, False]

        await wait_until(is_replaced)
        again = await api.wait(await api.create("more", folder))
        let_go.set()

    assert (ended["state"], ended["attempt"]) == ("completed", 2)
    assert again["state"] == "completed"


async def test_a_worker_is_replaced_though_postgres_is_away_at_that_moment(
    api: Api, parts: Parts, folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose keeper fails is replaced, and a replacement that cannot start is followed by another one."""
    beat, beats = WorkerGuard.beat, 0

    async def fail_in_turn(guard: WorkerGuard, leases: Sequence[Lease]) -> dict[Lease, LeaseAnswer]:
        nonlocal beats
        beats += 1
        if beats == 2:
            raise RuntimeError("a bug of the keeper")
        if beats in range(3, 9):
            raise ConnectionRefusedError("Postgres restarts")
        return await beat(guard, leases)

    async def do_nothing(context: JobContext, operation: Operation) -> dict[str, Any]:
        del context, operation
        return {"documents_failed": 0}

    async def has_gone_on() -> bool:
        return beats > 10

    monkeypatch.setattr(WorkerGuard, "beat", fail_in_turn)
    async with replacing_worker(parts, jobs={OperationKind.INDEX: do_nothing}):
        await wait_until(has_gone_on)
        ended = await api.wait(await api.create("notes", folder))

    assert ended["state"] == "completed"
