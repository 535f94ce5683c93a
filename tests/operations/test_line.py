"""Which pending operations start next."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.bootstrap import Parts
from app.db.line import LineRepository
from app.db.operations import OperationRepository
from app.domain.operations import Priority
from app.operations.attempts import Attempts
from app.operations.dispatch import Dispatcher, DispatchRules
from tests.operations.rows import add_collection, add_operations, add_user, add_worker, pick


async def test_as_many_are_picked_as_there_are_free_slots(parts: Parts) -> None:
    """Slots of live workers, less what runs and what was picked before; the rest stays in Postgres."""
    user = await add_user(parts, "a")
    ids = await add_operations(parts, user, await add_collection(parts, user), count=10)
    await add_worker(parts, slots=3)
    await add_worker(parts, slots=4)

    first = await pick(parts)
    second = await pick(parts)
    more = await pick(parts, lookahead=2)

    assert first == ids[:7]
    assert second == []
    assert more == ids[7:9]


async def test_a_worker_that_does_not_beat_has_no_slots(parts: Parts) -> None:
    """Slots of a worker whose lease is over do not count, and without any worker a few are picked all the same."""
    user = await add_user(parts, "a")
    ids = await add_operations(parts, user, await add_collection(parts, user), count=5)
    await add_worker(parts, slots=3)
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE workers SET heartbeat_at = now() - interval '2 minutes'"))

    assert await pick(parts) == []
    assert await pick(parts, without_workers=2) == ids[:2]


async def test_the_higher_priority_goes_first(parts: Parts) -> None:
    """High before normal before low, whatever their age within an aging period."""
    user = await add_user(parts, "a")
    collection = await add_collection(parts, user)
    low = await add_operations(parts, user, collection, priority=Priority.LOW, age=timedelta(minutes=5))
    normal = await add_operations(parts, user, collection)
    high = await add_operations(parts, user, collection, priority=Priority.HIGH)
    await add_worker(parts, slots=3)

    assert await pick(parts) == [*high, *normal, *low]


async def test_who_waits_long_rises(parts: Parts) -> None:
    """A low operation that has been due for two aging periods stands with the high ones, so it cannot starve."""
    user = await add_user(parts, "a")
    collection = await add_collection(parts, user)
    old = await add_operations(parts, user, collection, priority=Priority.LOW, age=timedelta(minutes=21))
    high = await add_operations(parts, user, collection, count=3, priority=Priority.HIGH)
    await add_worker(parts, slots=2)

    assert await pick(parts) == [old[0], high[0]]


async def test_users_take_turns(parts: Parts) -> None:
    """A user with many operations does not stand before one who has just come with one."""
    many, few = await add_user(parts, "many"), await add_user(parts, "few")
    of_many = await add_operations(parts, many, await add_collection(parts, many), count=6)
    of_few = await add_operations(parts, few, await add_collection(parts, few), count=2)
    await add_worker(parts, slots=5)

    assert await pick(parts) == [of_many[0], of_few[0], of_many[1], of_few[1], of_many[2]]


async def test_what_runs_counts_for_its_user(parts: Parts) -> None:
    """Who has operations under way waits until others have as many."""
    busy, idle = await add_user(parts, "busy"), await add_user(parts, "idle")
    of_busy = await add_operations(parts, busy, await add_collection(parts, busy), count=4)
    await add_worker(parts, slots=2)
    await pick(parts)
    of_idle = await add_operations(parts, idle, await add_collection(parts, idle), count=3)
    await add_worker(parts, slots=3)

    assert await pick(parts) == [of_idle[0], of_idle[1], of_busy[2]]


async def test_one_writer_of_a_collection_is_picked(parts: Parts) -> None:
    """Writers of a collection go one after the other in order, readers beside them."""
    user = await add_user(parts, "a")
    collection = await add_collection(parts, user)
    writers = await add_operations(parts, user, collection, count=3, writes=True)
    readers = await add_operations(parts, user, collection, count=2)
    await add_worker(parts, slots=10)

    assert await pick(parts) == [writers[0], *readers]


async def test_a_retried_writer_does_not_push_in_beside_a_running_one(parts: Parts) -> None:
    """An old operation that is retried waits for the writer that runs now, and says so."""
    user = await add_user(parts, "a")
    collection = await add_collection(parts, user)
    old = (await add_operations(parts, user, collection, writes=True))[0]
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE operations SET state = 'failed'"))
    new = (await add_operations(parts, user, collection, writes=True))[0]
    await add_worker(parts, slots=10)
    await pick(parts)
    attempts = Attempts(parts.database, worker="test", kinds=["APPEND"], lease_seconds=20)
    assert await attempts.claim(new, 1) is not None

    async with parts.database.begin() as connection:
        await OperationRepository(connection).restart(old)
    picked = await pick(parts)
    async with parts.database.begin() as connection:
        waiting = await OperationRepository(connection).get(old)

    assert picked == []
    assert waiting.why_waiting == f"behind operation {new} (APPEND, running)"


async def test_pickers_at_once_pick_each_once(parts: Parts) -> None:
    """Twenty pickers share what there is: no operation twice, none left, never more than slots."""
    user = await add_user(parts, "a")
    ids = await add_operations(parts, user, await add_collection(parts, user), count=40)
    await add_worker(parts, slots=30)

    async with asyncio.TaskGroup() as group:
        rounds = [group.create_task(pick(parts)) for _ in range(20)]
    picked = [operation_id for round_ in rounds for operation_id in round_.result()]

    assert sorted(picked) == sorted(ids[:30])


async def test_dispatchers_at_once_leave_nothing_and_dispatch_nothing_twice(parts: Parts) -> None:
    """Of many processes that bring the line on at once, the one whose turn it is picks for all the others."""
    user = await add_user(parts, "a")
    ids = await add_operations(parts, user, await add_collection(parts, user), count=40)
    await add_worker(parts, slots=40)
    rules = DispatchRules(max_interruptions=10)

    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(Dispatcher(parts.database, parts.queue, parts.events, rules).pump())
    async with parts.database.begin() as connection:
        rows = await connection.execute(text("SELECT id, dispatch FROM operations WHERE dispatched_at IS NOT NULL"))
        dispatched = {row.id: row.dispatch for row in rows}

    assert dispatched == dict.fromkeys(ids, 1)
    assert await parts.queue.find_queued(list(dispatched.items())) == set(ids)


async def test_who_has_no_turn_picks_nothing(parts: Parts) -> None:
    """Whoever waits for a turn gets what there is then."""
    user = await add_user(parts, "a")
    ids = await add_operations(parts, user, await add_collection(parts, user), count=3)
    await add_worker(parts, slots=3)

    async with parts.database.begin() as connection:
        await LineRepository(connection).wait_for_turn()
        async with parts.database.single() as other:
            refused = await LineRepository(other).pick(lookahead=0, without_workers=0, aging_seconds=60)
        waiting = asyncio.create_task(pick(parts))
        await asyncio.sleep(0.1)
        has_waited = not waiting.done()

    assert refused is None
    assert has_waited
    assert await waiting == ids


async def test_claims_at_once_claim_each_once(parts: Parts) -> None:
    """Of many workers that get the same delivery one starts an attempt."""
    user = await add_user(parts, "a")
    operation = (await add_operations(parts, user, await add_collection(parts, user), writes=True))[0]
    await add_worker(parts, slots=10)
    await pick(parts)
    workers = [Attempts(parts.database, worker=str(n), kinds=["APPEND"], lease_seconds=20) for n in range(8)]

    async with asyncio.TaskGroup() as group:
        claims = [group.create_task(worker.claim(operation, 1)) for worker in workers]

    assert sum(claim.result() is not None for claim in claims) == 1


async def test_an_unknown_kind_is_left_for_a_newer_worker(parts: Parts) -> None:
    """A worker that cannot execute a kind puts it back into the line; one that can claims it."""
    user = await add_user(parts, "a")
    operation = (await add_operations(parts, user, await add_collection(parts, user), kind="FUTURE"))[0]
    await add_worker(parts, slots=10)
    await add_worker(parts, slots=10, kinds=["APPEND", "FUTURE"])
    await pick(parts)
    old = Attempts(parts.database, worker="old", kinds=["APPEND"], lease_seconds=20)
    new = Attempts(parts.database, worker="new", kinds=["APPEND", "FUTURE"], lease_seconds=20)

    claimed_by_old = await old.claim(operation, 1)
    await old.withdraw(operation, 1)
    async with parts.database.begin() as connection:
        waiting = await OperationRepository(connection).get(operation)
        await connection.execute(text("UPDATE operations SET run_after = now()"))
    picked = await pick(parts)

    assert claimed_by_old is None
    assert waiting.kind.value == "FUTURE"
    assert waiting.run_after is not None
    assert picked == [operation]
    assert await new.claim(operation, 2) is not None


async def test_no_live_worker_knows_the_kind(parts: Parts) -> None:
    """The operation says that it needs a newer worker, instead of waiting without a word."""
    user = await add_user(parts, "a")
    operation = (await add_operations(parts, user, await add_collection(parts, user), kind="FUTURE"))[0]
    await add_worker(parts, slots=10)

    async with parts.database.begin() as connection:
        waiting = await OperationRepository(connection).get(operation)

    assert waiting.why_waiting == "no live worker can execute FUTURE; it needs a newer version"
    assert await pick(parts) == []


async def test_a_lost_announcement_gets_a_new_number_once(parts: Parts) -> None:
    """Two reconcilers that see the same lost announcement renew it once."""
    user = await add_user(parts, "a")
    operation = (await add_operations(parts, user, await add_collection(parts, user)))[0]
    await add_worker(parts, slots=10)
    await pick(parts)

    async with parts.database.begin() as connection:
        first = await LineRepository(connection).dispatch_again([(operation, 1)])
    async with parts.database.begin() as connection:
        second = await LineRepository(connection).dispatch_again([(operation, 1)])

    assert first == [(operation, 2)]
    assert second == []


async def test_one_without_a_collection_stands_in_its_users_line(parts: Parts) -> None:
    """It is picked like others, after its user's turn; only one that writes must have a collection."""
    busy, other = await add_user(parts, "busy"), await add_user(parts, "other")
    plans = await add_operations(parts, busy, None, count=2, kind="PLAN")
    between = await add_operations(parts, other, await add_collection(parts, other))
    await add_worker(parts, slots=3, kinds=["INDEX", "APPEND", "PLAN"])

    picked = await pick(parts)

    assert picked == [plans[0], *between, plans[1]]
    with pytest.raises(IntegrityError, match="ck_operations_writer_has_collection"):
        await add_operations(parts, busy, None, writes=True)
