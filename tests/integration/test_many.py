"""Many operations: their order is fair, and losing Redis loses none."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.bootstrap import Parts, configured_endpoints, open_parts, running_worker
from app.domain.operations import Operation, OperationKind, Priority
from app.jobs.context import JobContext
from app.settings import Settings
from benchmarks.corpus import write_corpus
from tests.harness import Api, wait_until
from tests.operations.rows import add_collection, add_operations, add_user

RUNNING = 200
PATIENT_SECONDS = 60
PENDING = 500
USERS = 20
REDIS_AWAY_SECONDS = float(os.environ.get("VECLOOM_TEST_REDIS_AWAY_SECONDS", "8"))
"""Longer than any call waits for an answer."""


class Gates:
    """Jobs that wait to be let go, and the order in which they started."""

    def __init__(self) -> None:
        self.started: list[UUID] = []
        self.running: set[UUID] = set()
        self._gates: dict[UUID, asyncio.Event] = {}
        self._open = False

    async def job(self, _: JobContext, operation: Operation) -> dict[str, Any]:
        """Wait."""
        self.started.append(operation.id)
        self.running.add(operation.id)
        gate = self._gates.setdefault(operation.id, asyncio.Event())
        if not self._open:
            await gate.wait()
        self.running.discard(operation.id)
        return {"documents_failed": 0}

    def let_go(self, operation_id: UUID) -> None:
        """End one."""
        self._gates[operation_id].set()

    def let_all_go(self) -> None:
        """End all, and those that come."""
        self._open = True
        for gate in self._gates.values():
            gate.set()

    async def wait_for_starts(self, count: int) -> None:
        """Return when so many have started."""

        async def enough() -> bool:
            return len(self.started) >= count

        await wait_until(enough)


@asynccontextmanager
async def workers(settings: Settings, gates: Gates, *, slots: tuple[int, ...]) -> AsyncIterator[None]:
    """Workers with so many slots each, on connections of their own."""
    async with AsyncExitStack() as stack:
        for count in slots:
            own = settings.model_copy(update={"worker_slots": count, "process_slots": 1})
            parts = await stack.enter_async_context(open_parts(own, configured_endpoints(own)))
            await stack.enter_async_context(running_worker(parts, jobs={OperationKind.APPEND: gates.job}))
        yield


async def _count(parts: Parts, state: str) -> int:
    async with parts.database.begin() as connection:
        found = await connection.scalar(text("SELECT count(*) FROM operations WHERE state = :state"), {"state": state})
    return int(found or 0)


def _next(waiting: list[tuple[UUID, UUID, Priority]], under_way: Counter[UUID]) -> tuple[UUID, UUID, Priority]:
    """The rule in words: the highest priority, there the user with the fewest under way, there the oldest."""
    return min(waiting, key=lambda item: (item[2], under_way[item[1]], waiting.index(item)))


@pytest.mark.timeout(300)
async def test_no_operation_starves(parts: Parts, settings: Settings) -> None:
    """Each slot that becomes free goes to the operation whose turn it is.

    200 run and 500 wait, over three priorities, 20 users and three workers.
    """
    chance = random.Random(11)  # noqa: S311 — repeatable, keeps no secret
    # nobody who is slow for a moment is to be taken for dead: what is begun anew has another turn
    settings = settings.model_copy(update={"lease": PATIENT_SECONDS})
    gates = Gates()
    users = [await add_user(parts, f"user-{number}") for number in range(USERS)]
    collections = {user: await add_collection(parts, user) for user in users}
    owner: dict[UUID, UUID] = {}
    for user in users:
        for operation in await add_operations(parts, user, collections[user], count=RUNNING // USERS):
            owner[operation] = user

    async with workers(settings, gates, slots=(66, 67, 67)):
        await parts.dispatcher.pump()
        await gates.wait_for_starts(RUNNING)
        waiting: list[tuple[UUID, UUID, Priority]] = []
        for _ in range(PENDING):
            # a few users have most of the operations
            user = users[min(int(chance.expovariate(0.3)), USERS - 1)]
            priority = chance.choice(list(Priority))
            [operation] = await add_operations(parts, user, collections[user], priority=priority)
            owner[operation] = user
            waiting.append((operation, user, priority))
        under_way = Counter(owner[operation] for operation in gates.running)
        expected: list[UUID] = []
        for step in range(PENDING):
            ended = gates.started[step]
            gates.let_go(ended)
            under_way[owner[ended]] -= 1
            following = _next(waiting, under_way)
            waiting.remove(following)
            under_way[following[1]] += 1
            expected.append(following[0])
            await gates.wait_for_starts(RUNNING + step + 1)
        gates.let_all_go()
        await wait_until(lambda: _all_completed(parts))

    assert gates.started[RUNNING:] == expected
    assert len(set(gates.started)) == RUNNING + PENDING


async def _all_completed(parts: Parts) -> bool:
    return await _count(parts, "completed") == RUNNING + PENDING


async def test_losing_all_of_redis_loses_no_operation(parts: Parts, settings: Settings) -> None:
    """Redis is flushed while 5 operations run and 50 wait, some of them in its queue; all 55 complete, each once."""
    gates = Gates()
    user = await add_user(parts, "a")
    ids = [
        operation
        for _ in range(55)
        for operation in await add_operations(parts, user, await add_collection(parts, user), writes=True)
    ]

    async with workers(settings, gates, slots=(5,)):
        await parts.dispatcher.pump()
        await gates.wait_for_starts(5)
        await parts.redis.flushall()
        running = await _count(parts, "running")
        gates.let_all_go()

        async def all_completed() -> bool:
            return await _count(parts, "completed") == 55

        await wait_until(all_completed)

    assert running == 5
    assert sorted(gates.started) == sorted(ids)


async def test_redis_that_answers_nothing_holds_up_nothing_for_good(api: Api, parts: Parts, tmp_path: Path) -> None:
    """What runs goes on to its end meanwhile; what is created meanwhile is accepted, and starts without being lost."""
    root = tmp_path / "corpus"
    write_corpus(root, 300)
    async with running_worker(parts):
        before = await api.create("before", root)
        await api.wait(before, states=["running"])
        await parts.redis.client_pause(round(REDIS_AWAY_SECONDS * 1000))
        meanwhile = await api.create("meanwhile", root)
        ended = [await api.wait(each, seconds=REDIS_AWAY_SECONDS + 60) for each in (before, meanwhile)]

    assert [operation["state"] for operation in ended] == ["completed"] * 2
    assert [(operation["attempt"], operation["failures"], operation["interruptions"]) for operation in ended] == [
        (1, 0, 0)
    ] * 2
    assert [await api.assert_consistent(name) for name in ("before", "meanwhile")] == [
        operation["result"]["chunks"] for operation in ended
    ]
