"""One connection feeds all watchers, and survives what happens to it."""

from uuid import uuid4

import pytest
from redis.asyncio import Redis

from app.domain.errors import WatcherTooSlowError
from app.progress.events import ProgressEvent, operation_channel
from app.progress.hub import Gap, ProgressHub, Subscription
from app.progress.reporter import ProgressReporter
from tests.progress.valkey import running_valkey, wait_until


async def take(subscription: Subscription, count: int) -> list[ProgressEvent]:
    """The next events of a subscription."""
    events = []
    for _ in range(count):
        item = await subscription.receive(timeout_seconds=10)
        assert isinstance(item, ProgressEvent)
        events.append(item)
    return events


async def test_a_subscription_is_ready_when_it_is_given(redis: Redis, namespace: str) -> None:
    """An event published right after subscribing is not lost."""
    async with ProgressHub(redis, namespace=namespace) as hub:
        for _ in range(20):
            operation_id = uuid4()
            async with hub.subscribe(operation_channel(operation_id)) as subscription:
                progress = ProgressReporter(redis, operation_id, namespace=namespace)
                await progress.send_update("operation_started", {})

                [event] = await take(subscription, 1)

            assert event.type == "operation_started"


async def test_all_watchers_share_one_connection(redis: Redis, namespace: str) -> None:
    """Many subscriptions of many channels need one Redis connection, and each gets its channel's events alone."""
    first, second = uuid4(), uuid4()
    async with ProgressHub(redis, namespace=namespace) as hub:
        async with (
            hub.subscribe(operation_channel(first)) as one,
            hub.subscribe(operation_channel(first)) as same,
            hub.subscribe(operation_channel(second)) as other,
        ):
            await ProgressReporter(redis, first, namespace=namespace).send_update("a", {})
            await ProgressReporter(redis, second, namespace=namespace).send_update("b", {})

            types = [(await take(subscription, 1))[0].type for subscription in (one, same, other)]
            clients = await redis.client_list(_type="pubsub")

        assert types == ["a", "a", "b"]
        assert len(clients) == 1
        assert hub.watchers == 0


async def test_a_left_channel_is_unsubscribed(redis: Redis, namespace: str) -> None:
    """Redis forgets channels nobody watches."""
    channel = operation_channel(uuid4())
    async with ProgressHub(redis, namespace=namespace) as hub:
        async with hub.subscribe(channel):
            assert await redis.pubsub_numsub(f"{namespace}:{channel}") == [(f"{namespace}:{channel}".encode(), 1)]

        async def is_gone() -> bool:
            [(_, count)] = await redis.pubsub_numsub(f"{namespace}:{channel}")
            return int(count) == 0

        await wait_until(is_gone)


async def test_a_slow_watcher_is_cut_off_alone(redis: Redis, namespace: str) -> None:
    """A full queue ends its watcher; another one of the same channel gets everything."""
    operation_id = uuid4()
    async with (
        ProgressHub(redis, namespace=namespace, queue_size=5) as hub,
        hub.subscribe(operation_channel(operation_id)) as slow,
        hub.subscribe(operation_channel(operation_id)) as quick,
    ):
        progress = ProgressReporter(redis, operation_id, namespace=namespace)
        for _ in range(10):
            await progress.send_update("step", {})
            await take(quick, 1)

        with pytest.raises(WatcherTooSlowError):
            await slow.receive(timeout_seconds=1)
        with pytest.raises(WatcherTooSlowError):
            await slow.receive(timeout_seconds=1)
        assert slow.is_too_slow
        assert not quick.is_too_slow


async def test_silence_is_none(redis: Redis, namespace: str) -> None:
    """A watcher that hears nothing gets control back in time."""
    async with ProgressHub(redis, namespace=namespace) as hub, hub.subscribe("operation:x") as subscription:
        assert await subscription.receive(timeout_seconds=0.05) is None


async def test_what_is_no_event_is_passed_over(redis: Redis, namespace: str) -> None:
    """Garbage on a channel does not disturb the events behind it."""
    operation_id = uuid4()
    channel = operation_channel(operation_id)
    async with ProgressHub(redis, namespace=namespace) as hub, hub.subscribe(channel) as subscription:
        await redis.publish(f"{namespace}:{channel}", "garbage")
        await ProgressReporter(redis, operation_id, namespace=namespace).send_update("step", {})

        [event] = await take(subscription, 1)

    assert event.type == "step"


async def test_a_lost_connection_is_a_gap(redis: Redis, namespace: str) -> None:
    """After the connection was cut the hub subscribes again and says that events may be missing."""
    operation_id = uuid4()
    async with (
        ProgressHub(redis, namespace=namespace) as hub,
        hub.subscribe(operation_channel(operation_id)) as subscription,
    ):
        await redis.client_kill_filter(_type="pubsub")

        item = await subscription.receive(timeout_seconds=10)
        await ProgressReporter(redis, operation_id, namespace=namespace).send_update("step", {})

        assert item is Gap.GAP
        assert [event.type for event in await take(subscription, 1)] == ["step"]


async def test_a_hub_waits_for_redis(namespace: str) -> None:
    """Without Redis a subscription begins anyway, and hears of the gap when Redis is there."""
    operation_id = uuid4()
    with running_valkey() as server:
        server.stop()
        async with (
            Redis.from_url(server.url) as redis,
            ProgressHub(redis, namespace=namespace, ready_timeout_seconds=0.05) as hub,
            hub.subscribe(operation_channel(operation_id)) as subscription,
        ):
            server.start()

            item = await subscription.receive(timeout_seconds=20)
            await ProgressReporter(redis, operation_id, namespace=namespace).send_update("step", {})

            assert item is Gap.GAP
            assert [event.type for event in await take(subscription, 1)] == ["step"]
