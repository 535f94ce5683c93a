"""One Pub/Sub connection of a process, and the bounded queues of all its watchers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import structlog
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.domain.errors import WatcherTooSlowError
from app.progress.events import ProgressEvent, parse_event, prefixed
from app.progress.reporter import replay

log = structlog.get_logger(__name__)

QUEUE_SIZE = 1000
READY_TIMEOUT_SECONDS = 2.0
PING_SECONDS = 5.0
CALL_TIMEOUT_SECONDS = 5.0
SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


class Gap(Enum):
    """Said to a watcher instead of an event: some may have been missed, so read the stream again."""

    GAP = "gap"


class Subscription:
    """One watcher's queue of one channel's events."""

    def __init__(self, *, size: int) -> None:
        self._size = size
        self._queue: asyncio.Queue[ProgressEvent | Gap | None] = asyncio.Queue()
        self._gap_waits = False
        self._too_slow = False
        self._ready = asyncio.Event()

    @property
    def is_too_slow(self) -> bool:
        """Whether the queue was full once; nothing comes any more."""
        return self._too_slow

    async def receive(self, *, timeout_seconds: float) -> ProgressEvent | Gap | None:
        """The next event, ``Gap.GAP``, or None if nothing comes in time.

        Raises:
            WatcherTooSlowError: once the queue was full.
        """
        if not self._too_slow:
            try:
                async with asyncio.timeout(timeout_seconds):
                    item = await self._queue.get()
            except TimeoutError:
                return None
            if item is Gap.GAP:
                self._gap_waits = False
            if item is not None:
                return item
        raise WatcherTooSlowError("events came faster than they were taken; connect again after the last one you got")

    def put(self, event: ProgressEvent) -> None:
        """Queue an event; a full queue is emptied, and its watcher learns that it is too slow."""
        if self._too_slow:
            return
        if self._queue.qsize() < self._size:
            self._queue.put_nowait(event)
            return
        self._too_slow = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    def confirm(self) -> None:
        """The channel is subscribed: the first time that makes the queue ready, later it means a gap."""
        if not self._ready.is_set():
            self._ready.set()
        elif not self._gap_waits and not self._too_slow:
            self._gap_waits = True
            self._queue.put_nowait(Gap.GAP)

    async def wait_ready(self, *, timeout_seconds: float) -> None:
        """Return when the channel is subscribed; after the timeout too, and then a gap follows when it is."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._ready.wait()
        except TimeoutError:
            self._ready.set()


class ProgressHub:
    """Feeds all watchers of a process from one Redis connection; use it as a context manager.

    After a lost connection it connects and subscribes again for ever, and tells every watcher of the gap. A watcher
    that does not take its events is cut off alone.

    Args:
        redis: says where Redis is; the hub opens its own connection, with its own timeouts.
        namespace: prefix of channels.
        queue_size: most events that wait for one watcher.
        ready_timeout_seconds: how long ``subscribe`` waits for Redis before it goes on without.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        namespace: str = "",
        queue_size: int = QUEUE_SIZE,
        ready_timeout_seconds: float = READY_TIMEOUT_SECONDS,
    ) -> None:
        self._streams = redis
        self._redis = _without_retries(redis)
        self._namespace = namespace
        self._queue_size = queue_size
        self._ready_timeout_seconds = ready_timeout_seconds
        self._channels: dict[str, set[Subscription]] = {}
        self._confirmed: set[str] = set()
        self._pubsub: PubSub | None = None
        self._reader: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read_forever())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait({reader})
        await self._redis.aclose()

    @property
    def watchers(self) -> int:
        """How many subscriptions are open."""
        return sum(len(subscriptions) for subscriptions in self._channels.values())

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[Subscription]:
        """A queue of the events published to ``channel`` from now on.

        Redis has confirmed the subscription when the block begins. If Redis does not answer in time the block
        begins anyway, and ``Gap.GAP`` comes when the subscription is there.
        """
        name = prefixed(self._namespace, channel)
        subscription = Subscription(size=self._queue_size)
        is_first = name not in self._channels
        self._channels.setdefault(name, set()).add(subscription)
        try:
            if is_first:
                self._wanted.set()
                await self._send("SUBSCRIBE", name)
            elif name in self._confirmed:
                subscription.confirm()
            await subscription.wait_ready(timeout_seconds=self._ready_timeout_seconds)
            yield subscription
        finally:
            await self._leave(name, subscription)

    async def replay(self, operation_id: UUID, after: str | None) -> list[ProgressEvent]:
        """Events of an operation newer than ``after``; see ``reporter.replay``."""
        return await replay(self._streams, operation_id, after, namespace=self._namespace)

    async def _leave(self, name: str, subscription: Subscription) -> None:
        self._channels[name].discard(subscription)
        if not self._channels[name]:
            del self._channels[name]
            self._confirmed.discard(name)
            await self._send("UNSUBSCRIBE", name)

    async def _send(self, command: str, *names: str) -> None:
        """Send to the open connection; if there is none, connecting subscribes to everything that is wanted."""
        pubsub = self._pubsub
        if pubsub is None:
            return
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                await pubsub.execute_command(command, *names)
        except (RedisError, OSError, TimeoutError, AttributeError) as error:
            # the reader notices the broken connection itself; when it closes it at this very moment, redis-py has no
            # transport any more and finds that out as an AttributeError
            log.debug("subscription_not_sent", command=command, error=type(error).__name__)

    async def _read_forever(self) -> None:
        pause = SHORTEST_PAUSE_SECONDS
        while True:
            await self._wanted.wait()
            try:
                async with self._redis.pubsub() as pubsub:
                    await self._connect(pubsub)
                    pause = SHORTEST_PAUSE_SECONDS
                    await self._read(pubsub)
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("progress_subscription_lost", error=type(error).__name__, retry_seconds=pause)
            finally:
                self._pubsub = None
                self._confirmed.clear()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _connect(self, pubsub: PubSub) -> None:
        """Open the connection and subscribe to all channels that are wanted by now."""
        async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
            await pubsub.ping()
            self._pubsub = pubsub
            if self._channels:
                await pubsub.execute_command("SUBSCRIBE", *self._channels)

    async def _read(self, pubsub: PubSub) -> None:
        """Hand out messages; a silent connection is asked for a sign of life, and left if it gives none."""
        asked = False
        while True:
            message = await pubsub.get_message(timeout=PING_SECONDS)
            if message is not None:
                asked = False
                self._take(message)
            elif asked:
                raise TimeoutError
            else:
                asked = True
                async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                    await pubsub.ping()

    def _take(self, message: dict[str, Any]) -> None:
        name = _text(message["channel"]) if message["channel"] is not None else ""
        if message["type"] == "subscribe" and name in self._channels:
            self._confirmed.add(name)
            for subscription in self._channels[name]:
                subscription.confirm()
        elif message["type"] == "message":
            self._hand_out(name, message["data"])

    def _hand_out(self, name: str, body: bytes) -> None:
        subscriptions = self._channels.get(name)
        if not subscriptions:
            return
        try:
            event = parse_event(body)
        except ValueError:
            log.warning("progress_event_unreadable", channel=name)
            return
        for subscription in subscriptions:
            subscription.put(event)


def _without_retries(redis: Redis) -> Redis:
    """A client of the same server that fails at once: only the hub knows what to subscribe to again."""
    known = redis.connection_pool
    options: dict[str, Any] = {
        **known.connection_kwargs,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "retry_on_timeout": False,
        "health_check_interval": 0,
    }
    pool = ConnectionPool(connection_class=known.connection_class, **options)
    client: Redis = Redis.from_pool(pool)
    return client


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
