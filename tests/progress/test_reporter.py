"""What a reporter writes, how often, and what it does without Redis."""

import asyncio
import time
from uuid import uuid4

import orjson
import pytest
from redis.asyncio import Redis

from app.domain.errors import ProgressUnavailableError
from app.progress.reporter import ProgressReporter, ProgressStreams, RedisBreaker, replay
from tests.progress.valkey import make_operation, running_valkey, wait_until


async def test_an_event_is_stored_and_published_as_the_same_bytes(redis: Redis, namespace: str) -> None:
    """Watchers of the operation, watchers of the user and the stream get one envelope."""
    operation_id, user_id, collection_id = uuid4(), uuid4(), uuid4()
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(f"{namespace}:operation:{operation_id}", f"{namespace}:user:{user_id}")

        async with ProgressReporter(redis, operation_id, namespace=namespace) as progress:
            progress.set_user_id(user_id)
            progress.set_collection_id(collection_id)
            await progress.send_update("operation_started", {"attempt": 1})

        published: list[bytes] = []

        async def both_came() -> bool:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=0.1)
            published.extend([message["data"]] if message else [])
            return len(published) == 2

        await wait_until(both_came)
    [stored] = await replay(redis, operation_id, None, namespace=namespace)
    assert published == [stored.body, stored.body]
    assert orjson.loads(stored.body)["collection_id"] == str(collection_id)
    assert 86_000 < await redis.ttl(f"{namespace}:operation-progress:{operation_id}") <= 86_400


async def test_replay_gives_what_came_after(redis: Redis, namespace: str) -> None:
    """Replay begins behind the event that is named."""
    operation_id = uuid4()
    async with ProgressReporter(redis, operation_id, namespace=namespace) as progress:
        for number in range(5):
            await progress.send_update("step", {"n": number})

    events = await replay(redis, operation_id, None, namespace=namespace)
    later = await replay(redis, operation_id, events[2].id, namespace=namespace)

    assert [orjson.loads(event.body)["data"]["n"] for event in events] == [0, 1, 2, 3, 4]
    assert later == events[3:]


async def test_a_stream_is_bounded(redis: Redis, namespace: str) -> None:
    """Old events go when there are more than about the limit."""
    operation_id = uuid4()

    async with ProgressReporter(redis, operation_id, namespace=namespace, max_events=100) as progress:
        for number in range(500):
            await progress.send_update("step", {"n": number})

    events = await replay(redis, operation_id, None, namespace=namespace)
    assert 100 <= len(events) <= 250
    assert orjson.loads(events[-1].body)["data"] == {"n": 499}


async def test_counters_come_at_most_four_times_a_second(redis: Redis, namespace: str) -> None:
    """Many counters become few, and the latest is always among them."""
    operation_id = uuid4()
    started = time.monotonic()
    sent = 0

    async with ProgressReporter(redis, operation_id, namespace=namespace) as progress:
        while time.monotonic() - started < 0.7:
            sent += 1
            await progress.send_update("ingest_progress", {"n": sent})
            await asyncio.sleep(0)

    events = await replay(redis, operation_id, None, namespace=namespace)
    allowed = int((time.monotonic() - started) * 4) + 2
    assert 2 <= len(events) <= allowed
    assert orjson.loads(events[-1].body)["data"] == {"n": sent}


async def test_a_waiting_counter_is_written_by_itself(redis: Redis, namespace: str) -> None:
    """The last counter of a burst comes although nothing follows it."""
    operation_id = uuid4()
    async with ProgressReporter(redis, operation_id, namespace=namespace) as progress:
        await progress.send_update("ingest_progress", {"n": 1})
        await progress.send_update("ingest_progress", {"n": 2})
        await progress.send_update("ingest_progress", {"n": 3})

        async def came() -> bool:
            return len(await replay(redis, operation_id, None, namespace=namespace)) == 2

        await wait_until(came)

    events = await replay(redis, operation_id, None, namespace=namespace)
    assert [orjson.loads(event.body)["data"]["n"] for event in events] == [1, 3]


async def test_other_events_come_at_once_and_behind_the_counters(redis: Redis, namespace: str) -> None:
    """A stage's end is not delayed, and the counter before it is written before it."""
    operation_id = uuid4()
    async with ProgressReporter(redis, operation_id, namespace=namespace) as progress:
        await progress.send_update("ingest_progress", {"n": 1})
        await progress.send_update("ingest_progress", {"n": 2})
        await progress.send_update("append_completed", {})

        events = await replay(redis, operation_id, None, namespace=namespace)

    assert [event.type for event in events] == ["ingest_progress", "ingest_progress", "append_completed"]


async def test_concurrent_events_keep_their_order(redis: Redis, namespace: str) -> None:
    """Events of many tasks come whole, in the order in which they were sent, each once."""
    operation_id = uuid4()

    async with ProgressReporter(redis, operation_id, namespace=namespace) as progress, asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(progress.send_update("document_failed", {"n": number}))

    events = await replay(redis, operation_id, None, namespace=namespace)
    assert [orjson.loads(event.body)["data"]["n"] for event in events] == list(range(50))


async def test_an_event_after_the_block_is_still_written(redis: Redis, namespace: str) -> None:
    """A shielded end that is published late is not lost."""
    operation_id = uuid4()
    async with ProgressReporter(redis, operation_id, namespace=namespace) as progress:
        await progress.send_update("ingest_progress", {"n": 1})

    await progress.send_update("ingest_progress", {"n": 2})
    await progress.send_update("operation_cancelled", {})

    events = await replay(redis, operation_id, None, namespace=namespace)
    assert [event.type for event in events] == ["ingest_progress", "ingest_progress", "operation_cancelled"]


async def test_a_silent_redis_costs_one_timeout() -> None:
    """A server that accepts and never answers is waited for once, not once an event."""

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(stay_silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    redis = Redis(host="127.0.0.1", port=port)
    started = time.monotonic()

    async with ProgressReporter(redis, uuid4()) as progress:
        for number in range(2000):
            await progress.send_update("step", {"n": number})
    seconds = time.monotonic() - started

    assert seconds < 3
    await redis.aclose()
    server.close()


async def test_events_of_an_outage_come_when_redis_is_back(namespace: str) -> None:
    """State changes wait for Redis in order; nothing is raised meanwhile."""
    operation_id = uuid4()
    breaker = RedisBreaker(pause_seconds=0)
    with running_valkey() as server:
        async with Redis.from_url(server.url) as redis:
            async with ProgressReporter(redis, operation_id, namespace=namespace, breaker=breaker) as progress:
                server.stop()
                await progress.send_update("operation_started", {})
                await progress.send_update("scanning_completed", {})
                server.start()
                await progress.send_update("operation_completed", {})

            events = await replay(redis, operation_id, None, namespace=namespace)

    assert [event.type for event in events] == ["operation_started", "scanning_completed", "operation_completed"]


async def test_replay_says_that_redis_is_away(namespace: str) -> None:
    """Missing events are not mistaken for none."""
    async with Redis.from_url("unix:///nonexistent/valkey.sock") as redis:
        with pytest.raises(ProgressUnavailableError):
            await replay(redis, uuid4(), None, namespace=namespace)


async def test_a_forgotten_stream_is_empty(redis: Redis, namespace: str) -> None:
    """A retried operation starts with a fresh stream."""
    operation = make_operation()
    streams = ProgressStreams(redis, namespace=namespace)
    async with streams.open(operation) as progress:
        await progress.send_update("operation_failed", {})

    await streams.forget(operation.id)

    assert await replay(redis, operation.id, None, namespace=namespace) == []
