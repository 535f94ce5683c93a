"""A worker's own connection: who lives, who does not, and whose lease is whose."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from app.db.guard import UNAVAILABLE, WorkerGuard
from app.db.workers import LOCK_CLASS, Look
from app.domain.operations import Lease, WorkerProfile
from app.operations.attempts import Attempts
from tests.harness import wait_until
from tests.operations.rows import add_collection, add_operations, add_user, pick


@asynccontextmanager
async def opened(parts: Parts, name: str) -> AsyncIterator[WorkerGuard]:
    """A worker's guard that has beaten once."""
    profile = WorkerProfile(name=name, version="0", kinds=("APPEND",), slots=10, lease_seconds=60)
    guard = WorkerGuard(parts.endpoints.database_url, profile, timeout_seconds=5)
    await guard.beat([])
    try:
        yield guard
    finally:
        await guard.aclose()


async def end_session(parts: Parts, *, of: str) -> None:
    """Have Postgres end the session that holds a worker's lock."""
    async with parts.database.begin() as connection:
        ended = await connection.execute(
            text(
                """SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN workers w ON w.lock_key = l.objid::int
                   WHERE l.locktype = 'advisory' AND l.classid = :class AND w.name = :of
                     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
            ).bindparams(**{"class": LOCK_CLASS}),
            {"of": of},
        )
        assert len(ended.all()) == 1


async def run_one(parts: Parts, worker_id: UUID) -> Lease:
    """An operation that this worker executes."""
    user = await add_user(parts, "a")
    await add_operations(parts, user, await add_collection(parts, user))
    picked = await pick(parts)
    attempts = Attempts(parts.database, worker="w", worker_id=worker_id, kinds=["APPEND"], lease_seconds=60)
    claimed = await attempts.claim(picked[0], 1)
    assert claimed is not None
    assert claimed.lease_token is not None
    return Lease(operation_id=claimed.id, token=claimed.lease_token)


def looks(guard: WorkerGuard, wanted: Callable[[Look], bool]) -> Callable[[], Awaitable[Look | None]]:
    """A predicate for ``wait_until``: a look that is as wanted."""

    async def look() -> Look | None:
        seen = await guard.look()
        return seen if wanted(seen) else None

    return look


async def test_a_worker_whose_session_ends_is_found_dead(parts: Parts) -> None:
    """Its operation's lease, good for a minute, ends as soon as another worker has looked twice."""
    async with opened(parts, "survivor") as survivor, opened(parts, "victim") as victim:
        lease = await run_one(parts, victim.id)
        assert victim.has_lock

        await end_session(parts, of="victim")
        seen = await wait_until(looks(survivor, lambda look: bool(look.dead)))
        taken_back = await parts.dispatcher.take_back()

        assert seen.dead == ("victim",)
        assert taken_back == 1
        assert await survivor.beat([lease]) == {}


async def test_a_living_worker_is_not_found_dead(parts: Parts) -> None:
    """One that connects again at once after it lost its session keeps its lease."""
    async with opened(parts, "looker") as looker, opened(parts, "worker") as worker:
        lost = asyncio.Event()
        worker.on_poke = lambda _: lost.set()
        lease = await run_one(parts, worker.id)

        await end_session(parts, of="worker")
        await asyncio.wait_for(lost.wait(), timeout=10)
        answers = await worker.beat([lease])
        looked = [await looker.look() for _ in range(5)]

        assert lease in answers
        assert worker.has_lock
        assert not any(look.dead or look.has_expired for look in looked)


async def test_a_worker_that_signs_off_is_not_dead(parts: Parts) -> None:
    """Nobody has to take anything back from it."""
    async with opened(parts, "looker") as looker:
        async with opened(parts, "worker"):
            pass

        assert (await looker.look()).dead == ()
        assert (await looker.look()).alive == 1


async def test_a_session_that_does_not_keep_its_lock_says_so(parts: Parts) -> None:
    """Where somebody else holds the lock, as behind a pooler, only the lease counts."""
    async with opened(parts, "looker") as looker:
        other = parts.database.engine.connect()
        async with other as connection:
            next_key = text("SELECT pg_advisory_lock(:class, max(lock_key) + 1) FROM workers")
            await connection.execute(next_key.bindparams(**{"class": LOCK_CLASS}))
            async with opened(parts, "pooled") as pooled:
                assert not pooled.has_lock
                await connection.rollback()
                await connection.invalidate()
                looked = [await looker.look() for _ in range(3)]

        assert not any(look.dead for look in looked)


async def test_a_poke_is_heard_when_it_is_committed(parts: Parts) -> None:
    """A request for an operation reaches every worker through Postgres, without Redis."""
    async with opened(parts, "worker") as worker:
        heard: asyncio.Queue[UUID | None] = asyncio.Queue()
        worker.on_poke = heard.put_nowait
        subject = (await run_one(parts, worker.id)).operation_id

        async with parts.database.begin() as connection:
            await connection.execute(text("SELECT pg_notify('vecloom_poke', :id)"), {"id": str(subject)})

        assert await asyncio.wait_for(heard.get(), timeout=10) == subject


async def test_a_call_that_gets_no_answer_ends(parts: Parts) -> None:
    """A heartbeat behind a lock fails in time, and the next one uses a new session."""
    profile = WorkerProfile(name="worker", version="0", kinds=("APPEND",), slots=10, lease_seconds=60)
    guard = WorkerGuard(parts.endpoints.database_url, profile, timeout_seconds=0.5)
    await guard.beat([])

    async with parts.database.begin() as connection:
        await connection.execute(text("LOCK TABLE workers IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(UNAVAILABLE):
            await guard.beat([])
    await guard.beat([])

    assert guard.has_lock
    await guard.aclose()
