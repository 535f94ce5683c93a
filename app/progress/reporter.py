"""Writes progress events to Redis, without ever standing in the way of the work they tell of."""

import asyncio
import time
from collections import deque
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.domain.errors import ProgressUnavailableError
from app.domain.operations import Operation
from app.progress.events import (
    FIRST_ID,
    PUBLISH_SCRIPT,
    ProgressEvent,
    encode_envelope,
    is_counter,
    operation_channel,
    parse_entry,
    prefixed,
    stream_key,
    user_channel,
)

log = structlog.get_logger(__name__)

COUNTER_INTERVAL_SECONDS = 0.25
CALL_TIMEOUT_SECONDS = 1.0
REPLAY_TIMEOUT_SECONDS = 5.0
PAUSE_SECONDS = 5.0
MAX_EVENTS = 1000
TTL_SECONDS = 86_400
UNAVAILABLE = (RedisError, OSError, TimeoutError)


class RedisBreaker:
    """Remembers that Redis did not answer, so that for ``pause_seconds`` nobody waits for it again."""

    def __init__(self, *, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._pause_seconds = pause_seconds
        self._open_until = 0.0
        self._warned = False

    @property
    def is_open(self) -> bool:
        """Whether Redis is to be left alone now."""
        return time.monotonic() < self._open_until

    def trip(self, error: BaseException) -> None:
        """Note a failure; the first of an outage is logged."""
        self._open_until = time.monotonic() + self._pause_seconds
        if not self._warned:
            self._warned = True
            log.warning("progress_unavailable", error=type(error).__name__, note="operations go on without watchers")

    def reset(self) -> None:
        """Note a success."""
        if self._warned:
            self._warned = False
            log.info("progress_available")


class ProgressReporter:
    """Reports one operation.

    Counter events (``is_counter``) are written at most four times a second, the latest wins. Every other event
    is written at once, in order, after the counters waiting before it. If Redis is away nothing is raised and
    little is waited: at most ``CALL_TIMEOUT_SECONDS`` once in ``PAUSE_SECONDS``. Events that are no counters
    wait (at most ``max_events`` of them) and are written when Redis is back and another event comes. ``data``
    belongs to the reporter once it is handed over.

    Args:
        redis: any client; its own timeouts may be longer.
        operation_id: whose progress.
        namespace: prefix of keys and channels.
        max_events: about how many events the stream keeps.
        ttl_seconds: how long the stream lives after its last event.
        breaker: shared by the reporters of a process, so that an outage is noticed once.
    """

    def __init__(
        self,
        redis: Redis,
        operation_id: UUID | str,
        *,
        namespace: str = "",
        max_events: int = MAX_EVENTS,
        ttl_seconds: int = TTL_SECONDS,
        breaker: RedisBreaker | None = None,
    ) -> None:
        self._script = redis.register_script(PUBLISH_SCRIPT)
        self._operation_id = operation_id
        self._namespace = namespace
        self._max_events = max_events
        self._ttl_seconds = ttl_seconds
        self._breaker = breaker or RedisBreaker()
        self._user_id: UUID | str | None = None
        self._collection_id: UUID | str | None = None
        self._lock = asyncio.Lock()
        self._counters: dict[str, dict[str, Any]] = {}
        self._counted_at = float("-inf")
        self._waiting: deque[bytes] = deque(maxlen=max_events)
        self._timer: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def key(self) -> str:
        """Key of the operation's stream."""
        return stream_key(self._namespace, self._operation_id)

    def set_user_id(self, user_id: UUID | str) -> None:
        """Publish later events to this user's channel too."""
        self._user_id = user_id

    def set_collection_id(self, collection_id: UUID | str | None) -> None:
        """Name the collection in later events."""
        self._collection_id = collection_id

    async def __aenter__(self) -> Self:
        self._closed = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what still waits. Events sent later are still written, each at once."""
        self._closed = True
        async with self._lock:
            # with the lock held the timer is not in the middle of a write
            timer, self._timer = self._timer, None
            if timer is not None:
                timer.cancel()
                await asyncio.wait({timer})
            await self._write_waiting()
            await self._write_counters()

    async def send_update(self, type: str, data: dict[str, Any]) -> None:  # noqa: A002 — the envelope's own word
        """Publish one event, or keep it if it is a counter and the last one is younger than 250 ms."""
        if is_counter(type):
            await self._count(type, data)
            return
        async with self._lock:
            await self._write_waiting()
            await self._write_counters()
            self._waiting.append(self._encode(type, data))
            await self._write_waiting()

    async def _count(self, event_type: str, data: dict[str, Any]) -> None:
        self._counters[event_type] = data
        too_soon = time.monotonic() < self._counted_at + COUNTER_INTERVAL_SECONDS
        if self._closed or not (too_soon or self._timer):
            async with self._lock:
                await self._write_counters()
        elif self._timer is None:
            self._timer = asyncio.create_task(self._write_later())

    async def _write_later(self) -> None:
        """Write waiting counters, one each interval, until none is left."""
        while self._counters:
            await asyncio.sleep(max(self._counted_at + COUNTER_INTERVAL_SECONDS - time.monotonic(), 0))
            async with self._lock:
                await self._write_counters(at_most=1)
        self._timer = None

    async def _write_counters(self, *, at_most: int | None = None) -> None:
        """Write waiting counters, oldest type first; what Redis does not take is dropped."""
        for event_type in list(self._counters)[:at_most]:
            self._counted_at = time.monotonic()
            await self._publish(self._encode(event_type, self._counters.pop(event_type)))

    async def _write_waiting(self) -> None:
        """Write the other events in order, until one is not taken; that one is the first next time."""
        while self._waiting:
            envelope = self._waiting.popleft()
            if not await self._publish(envelope):
                self._waiting.appendleft(envelope)
                return

    async def _publish(self, envelope: bytes) -> bool:
        """Append to the stream and publish; False if Redis does not answer."""
        if self._breaker.is_open:
            return False
        channels = [operation_channel(self._operation_id)]
        if self._user_id is not None:
            channels.append(user_channel(self._user_id))
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                await self._script(
                    keys=[self.key],
                    args=[
                        self._max_events,
                        self._ttl_seconds,
                        envelope,
                        *(prefixed(self._namespace, channel) for channel in channels),
                    ],
                )
        except UNAVAILABLE as error:
            self._breaker.trip(error)
            return False
        self._breaker.reset()
        return True

    def _encode(self, event_type: str, data: dict[str, Any]) -> bytes:
        return encode_envelope(event_type, data, operation_id=self._operation_id, collection_id=self._collection_id)


class ProgressStreams:
    """The streams of all operations; the reporters it opens share one breaker."""

    def __init__(
        self, redis: Redis, *, namespace: str = "", max_events: int = MAX_EVENTS, ttl_seconds: int = TTL_SECONDS
    ) -> None:
        self._redis = redis
        self._namespace = namespace
        self._max_events = max_events
        self._ttl_seconds = ttl_seconds
        self._breaker = RedisBreaker()

    def open(self, operation: Operation) -> ProgressReporter:
        """A reporter for one operation, to be used as a context manager."""
        reporter = ProgressReporter(
            self._redis,
            operation.id,
            namespace=self._namespace,
            max_events=self._max_events,
            ttl_seconds=self._ttl_seconds,
            breaker=self._breaker,
        )
        reporter.set_user_id(operation.user_id)
        reporter.set_collection_id(operation.collection_id)
        return reporter

    async def forget(self, operation_id: UUID) -> None:
        """Drop a stream; if Redis does not answer, watchers still trust the operation's row over an old final."""
        if self._breaker.is_open:
            return
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                await self._redis.delete(stream_key(self._namespace, operation_id))
        except UNAVAILABLE as error:
            self._breaker.trip(error)


async def replay(
    redis: Redis, operation_id: UUID | str, after: str | None, *, namespace: str = ""
) -> list[ProgressEvent]:
    """Events of an operation newer than the event ``after`` (None: all that are kept), oldest first.

    Raises:
        ProgressUnavailableError: if Redis does not answer in time.
    """
    try:
        async with asyncio.timeout(REPLAY_TIMEOUT_SECONDS):
            entries = await redis.xrange(stream_key(namespace, operation_id), min=f"({after or FIRST_ID}")
    except UNAVAILABLE as error:
        raise ProgressUnavailableError("progress events cannot be read now") from error
    return [parse_entry(_text(event_id), fields[b"event"]) for event_id, fields in entries if b"event" in fields]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
