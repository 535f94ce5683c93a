"""Watchers see everything once, and the end exactly once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import orjson
import pytest
from redis.asyncio import Redis

from app.api.slots import WatcherSlots
from app.api.watch import Events, OperationWatch, watch_user
from app.domain.errors import InvalidInputError, TooManyWatchersError, WatcherTooSlowError
from app.domain.operations import Operation, OperationState
from app.progress.events import ProgressEvent
from app.progress.hub import ProgressHub
from app.progress.reporter import ProgressReporter, RedisBreaker, replay
from tests.progress.valkey import RestartableValkey, make_operation, running_valkey, wait_until

LONG_AGO = datetime.now(UTC) - timedelta(days=2)


class Row:
    """An operation's row, as a watcher reads it."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.reads = 0

    async def find(self) -> Operation:
        """The row now."""
        self.reads += 1
        return self.operation

    def end(self, state: OperationState = OperationState.COMPLETED, *, at: datetime | None = None) -> None:
        """Commit a final state."""
        self.operation = replace(self.operation, state=state, finished_at=at or datetime.now(UTC))


@pytest.fixture
async def hub(redis: Redis) -> AsyncIterator[ProgressHub]:
    """A hub with short queues and without namespace."""
    async with ProgressHub(redis, queue_size=20) as opened:
        yield opened


@pytest.fixture
def row() -> Row:
    """A running operation."""
    return Row(make_operation())


def watch(hub: ProgressHub, row: Row, *, after: str | None = None, poll_seconds: float = 5) -> Events:
    """A watcher of the row's operation."""
    return OperationWatch(hub, row.operation.id, row.find, after=after, poll_seconds=poll_seconds).stream()


async def next_event(events: Events) -> ProgressEvent:
    """The next event that is not silence."""
    async with asyncio.timeout(20):
        while True:
            event = await anext(events)
            if event is not None:
                return event


async def read_all(events: Events) -> list[ProgressEvent]:
    """All events up to the end."""
    async with asyncio.timeout(20), aclosing(events):
        return [event async for event in events if event is not None]


async def report(redis: Redis, row: Row, *types: str) -> None:
    """Send events of these types; one that Redis takes too long for is sent again."""
    async with ProgressReporter(redis, row.operation.id, breaker=RedisBreaker(pause_seconds=0.0)) as reporter:
        reporter.set_user_id(row.operation.user_id)
        for event_type in types:
            await reporter.send_update(event_type, {})


async def test_a_late_watcher_gets_everything_once(redis: Redis, hub: ProgressHub, row: Row) -> None:
    """Whoever comes after the end sees the whole stream, and nothing twice."""
    await report(redis, row, "operation_started", "scanning_completed", "operation_completed")
    row.end()

    events = await read_all(watch(hub, row))

    assert [event.type for event in events] == ["operation_started", "scanning_completed", "operation_completed"]
    assert len({event.id for event in events}) == 3


async def test_a_watcher_follows_from_replay_to_the_live_end(redis: Redis, hub: ProgressHub, row: Row) -> None:
    """Missed events come first, then live ones, in order, without doubles."""
    await report(redis, row, "operation_started")
    async with aclosing(watch(hub, row)) as events:
        seen = [await next_event(events)]
        await report(redis, row, "scanning_completed")
        seen.append(await next_event(events))
        row.end()
        await report(redis, row, "operation_completed")
        seen += await read_all(events)

    assert [event.type for event in seen] == ["operation_started", "scanning_completed", "operation_completed"]


async def test_no_event_is_lost_between_replay_and_live(redis: Redis, hub: ProgressHub, row: Row) -> None:
    """Events sent while a watcher arrives come each once, in order."""
    types = [f"step_{number}" for number in range(30)]
    watchers = []
    async with asyncio.TaskGroup() as group:
        for event_type in types:
            watchers.append(group.create_task(read_all(watch(hub, row))))
            await report(redis, row, event_type)
        row.end()
        await report(redis, row, "operation_completed")

    for watcher in watchers:
        assert [event.type for event in watcher.result()] == [*types, "operation_completed"]


async def test_a_watcher_comes_back_where_it_left(redis: Redis, hub: ProgressHub, row: Row) -> None:
    """With ``after``, only what is newer comes."""
    await report(redis, row, "operation_started", "scanning_completed")
    known = await replay(redis, row.operation.id, None)
    await report(redis, row, "operation_failed")
    row.end(OperationState.FAILED)

    events = await read_all(watch(hub, row, after=known[0].id))

    assert [event.type for event in events] == ["scanning_completed", "operation_failed"]


async def test_whoever_saw_the_end_does_not_see_it_again(redis: Redis, hub: ProgressHub, row: Row) -> None:
    """A watcher that comes back after the final event gets nothing, and is not kept waiting."""
    await report(redis, row, "operation_started", "operation_completed")
    row.end()
    known = await replay(redis, row.operation.id, None)

    events = await read_all(watch(hub, row, after=known[-1].id))

    assert events == []


@pytest.mark.parametrize(
    ("state", "expected", "data"),
    [
        (OperationState.COMPLETED, "operation_completed", {"result": {"chunks": 3}}),
        (
            OperationState.FAILED,
            "operation_failed",
            {"error_code": "disk_full", "error_message": "no space", "retryable": False},
        ),
        (OperationState.CANCELLED, "operation_cancelled", {}),
    ],
)
async def test_an_expired_stream_ends_as_the_row_says(
    hub: ProgressHub, row: Row, state: OperationState, expected: str, data: dict[str, object]
) -> None:
    """Without a stream there is exactly one event: the end, with the row's result or error."""
    row.operation = replace(
        row.operation, result={"chunks": 3}, error_code="disk_full", error_message="no space", retryable=False
    )
    row.end(state, at=LONG_AGO)

    [event] = await read_all(watch(hub, row))

    body = orjson.loads(event.body)
    assert (event.type, event.id, body["id"]) == (expected, "0-0", "0-0")
    assert body["data"] == data
    assert body["operation_id"] == str(row.operation.id)
    assert body["timestamp"] == LONG_AGO.isoformat()


async def test_a_stream_without_an_end_gets_one(redis: Redis, hub: ProgressHub, row: Row) -> None:
    """If the final event was lost, the row's end follows what the stream has."""
    await report(redis, row, "operation_started")
    row.end(at=LONG_AGO)

    events = await read_all(watch(hub, row))

    assert [event.type for event in events] == ["operation_started", "operation_completed"]
    assert events[0].id == events[1].id


async def test_an_end_on_its_way_is_not_made_twice(redis: Redis, hub: ProgressHub, row: Row) -> None:
    """A watcher that finds the row final before the event is published waits for the event itself."""
    await report(redis, row, "operation_started")
    row.end()
    async with aclosing(watch(hub, row)) as events, asyncio.TaskGroup() as group:
        reading = group.create_task(read_all(events))

        async def was_read() -> bool:
            return row.reads > 0

        await wait_until(was_read)
        await report(redis, row, "operation_completed")

    stored = await replay(redis, row.operation.id, None)
    assert reading.result() == stored


async def test_a_silent_stream_ends_by_the_row(redis: Redis, hub: ProgressHub, row: Row) -> None:
    """If Redis says nothing, a watcher finds the end by asking for the row now and then."""
    await report(redis, row, "operation_started")
    async with aclosing(watch(hub, row, poll_seconds=0.05)) as events:
        first = await next_event(events)
        row.end(at=LONG_AGO)

        rest = await read_all(events)

    assert first.type == "operation_started"
    assert [event.type for event in rest] == ["operation_completed"]


async def test_an_old_end_does_not_end_a_retried_operation(redis: Redis, hub: ProgressHub, row: Row) -> None:
    """A final event of an earlier round, whose stream could not be dropped, is passed over."""
    await report(redis, row, "operation_started", "operation_failed", "operation_queued")
    async with aclosing(watch(hub, row)) as events:
        seen = [await next_event(events), await next_event(events)]
        row.end()
        await report(redis, row, "operation_completed")
        seen += await read_all(events)

    assert [event.type for event in seen] == ["operation_started", "operation_queued", "operation_completed"]


async def test_a_late_queued_event_does_not_hide_the_end(redis: Redis, hub: ProgressHub, row: Row) -> None:
    """The end is the last event a watcher gets, even if something was published behind it."""
    await report(redis, row, "operation_started", "operation_completed", "operation_queued")
    row.end()

    events = await read_all(watch(hub, row))

    assert [event.type for event in events] == ["operation_started", "operation_completed"]


async def test_a_slow_watcher_is_dropped(redis: Redis, hub: ProgressHub, row: Row) -> None:
    """A watcher that does not take its events is told so; a quick one gets all of them."""
    types = [f"step_{number}" for number in range(30)]
    await report(redis, row, "operation_started")
    async with aclosing(watch(hub, row)) as slow, aclosing(watch(hub, row)) as quick:
        await next_event(slow)
        await next_event(quick)
        seen = []
        for event_type in types:
            await report(redis, row, event_type)
            seen.append((await next_event(quick)).type)

        with pytest.raises(WatcherTooSlowError):
            await read_all(slow)

    assert seen == types


async def test_a_watcher_survives_the_loss_of_redis(row: Row) -> None:
    """With Redis restarted and empty, later events and the end still come."""
    with running_valkey() as server:
        async with Redis.from_url(server.url) as redis, ProgressHub(redis, ready_timeout_seconds=0.2) as hub:
            await report(redis, row, "operation_started")
            async with aclosing(watch(hub, row, poll_seconds=0.2)) as events:
                seen = [(await next_event(events)).type]
                restart(server)
                await redis.connection_pool.disconnect()
                await report(redis, row, "scanning_completed")
                seen.append((await next_event(events)).type)
                row.end()
                await report(redis, row, "operation_completed")
                seen += [event.type for event in await read_all(events)]

    assert seen == ["operation_started", "scanning_completed", "operation_completed"]


def restart(server: RestartableValkey) -> None:
    """Lose everything Redis has."""
    server.stop()
    server.start()


async def test_without_redis_the_row_is_enough(row: Row) -> None:
    """A watcher that never reaches Redis still gets the end, once."""
    async with (
        Redis.from_url("unix:///nonexistent/valkey.sock") as redis,
        ProgressHub(redis, ready_timeout_seconds=0.05) as hub,
        aclosing(watch(hub, row, poll_seconds=0.05)) as events,
    ):
        assert await anext(events) is None
        row.end(at=LONG_AGO)

        seen = await read_all(events)

    assert [event.type for event in seen] == ["operation_completed"]


async def test_a_user_sees_all_of_their_operations(redis: Redis, hub: ProgressHub) -> None:
    """Live events of every operation of the user come, and of nobody else's."""
    user_id = uuid4()
    mine = [Row(make_operation(user_id=user_id)) for _ in range(2)]
    other = Row(make_operation())
    async with aclosing(watch_user(hub, user_id, poll_seconds=0.05)) as events:
        assert await anext(events) is None
        for operation in (mine[0], other, mine[1]):
            await report(redis, operation, "operation_completed")

        seen = [orjson.loads((await next_event(events)).body)["operation_id"] for _ in range(2)]

    assert seen == [str(operation.operation.id) for operation in mine]


def test_a_malformed_id_is_refused(hub: ProgressHub, row: Row) -> None:
    """``after`` must be an event id."""
    with pytest.raises(InvalidInputError):
        OperationWatch(hub, row.operation.id, row.find, after="yesterday")


def test_slots_are_limited_and_come_back() -> None:
    """Neither a user nor all users together get more watchers than allowed."""
    first, second, third = uuid4(), uuid4(), uuid4()
    slots = WatcherSlots(per_user=1, per_process=2)

    with slots.hold(first), slots.hold(second):
        for user_id in (first, third):
            with pytest.raises(TooManyWatchersError), slots.hold(user_id):
                pass

    with slots.hold(first), slots.hold(third):
        pass


@pytest.mark.parametrize("is_last_seen", [False, True])
async def test_an_older_end_is_not_taken_for_the_new_one(
    redis: Redis, hub: ProgressHub, row: Row, *, is_last_seen: bool
) -> None:
    """An operation failed and was retried while Redis was away, and its new end never reached Redis either."""
    async with ProgressReporter(redis, row.operation.id) as reporter:
        for event_type in ("operation_failed", "operation_started", "index_completed"):
            await reporter.send_update(event_type, {"error_code": "embedder_unavailable"})
    row.end(at=LONG_AGO)
    seen = await replay(redis, row.operation.id, None)

    events = await read_all(watch(hub, row, after=seen[-1].id if is_last_seen else None))

    finals = [event.type for event in events if event.is_final]
    assert finals == ["operation_completed"]
    assert events[-1].type == "operation_completed"


async def test_an_older_end_of_the_same_kind_is_not_taken_for_the_new_one(
    redis: Redis, hub: ProgressHub, row: Row
) -> None:
    """It failed, was retried and failed for another reason, and nothing of that reached Redis."""
    async with ProgressReporter(redis, row.operation.id) as reporter:
        await reporter.send_update("operation_failed", {"error_code": "embedder_unavailable"})
    row.end(OperationState.FAILED, at=LONG_AGO)
    row.operation = replace(row.operation, error_code="source_not_found")

    events = await read_all(watch(hub, row))

    assert [event.type for event in events] == ["operation_failed"]
    assert orjson.loads(events[0].body)["data"]["error_code"] == "source_not_found"
