"""arq as the wake-up channel: ids go in, nothing is remembered there."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import orjson
import structlog
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from arq.utils import timestamp_ms
from redis.asyncio import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError

from app.domain.operations import LaneChange
from app.operations.batches import Batches

log = structlog.get_logger(__name__)

RUN_OPERATION = "run_operation"
SOCKET_TIMEOUT_SECONDS = 5
HEALTH_CHECK_SECONDS = 15
CALL_TIMEOUT_SECONDS = 3
JOB_TTL_MS = 24 * 3600 * 1000
UNAVAILABLE = (RedisError, OSError, TimeoutError)


def queue_name(namespace: str) -> str:
    """The arq queue of a namespace."""
    return f"{namespace}:queue"


def control_channel(namespace: str) -> str:
    """Where workers hear that there is work, or that somebody wants something of an operation."""
    return f"{namespace}:control"


def serialize(value: dict[str, Any]) -> bytes:
    """JSON, so that writing to Redis is not running code in the worker."""
    return orjson.dumps(value)


class _KeepsCancellation(AbstractConnection):
    """A connection that hands on the cancellation of whoever sends through it.

    Before Python 3.12 ``asyncio.wait_for``, which redis-py sends with, forgets a cancellation that comes while its
    result is already there: a task cancelled at that moment would go on as if nobody had asked it to stop.
    """

    async def send_packed_command(
        self,
        command: bytes | str | Iterable[bytes],
        check_health: bool = True,  # noqa: FBT001, FBT002 — redis-py's signature
    ) -> None:
        task = asyncio.current_task()
        asked = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)
        if task and task.cancelling() > asked:
            await self.disconnect(nowait=True)
            raise asyncio.CancelledError


class _TcpConnection(_KeepsCancellation, Connection):
    pass


class _TlsConnection(_KeepsCancellation, SSLConnection):
    pass


class _UnixConnection(_KeepsCancellation, UnixDomainSocketConnection):
    pass


_CONNECTIONS: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: _TcpConnection,
    SSLConnection: _TlsConnection,
    UnixDomainSocketConnection: _UnixConnection,
}


def create_arq_redis(url: str, *, namespace: str, retries: int) -> ArqRedis:
    """A Redis client that notices dead connections.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        namespace: prefix of the queue's name.
        retries: how often a command is tried again after a connection error; -1 for ever.
    """
    options: dict[str, Any] = dict(parse_url(url))
    kind = options.pop("connection_class", Connection)
    if kind is not UnixDomainSocketConnection:
        options["socket_keepalive"] = True
        options["socket_connect_timeout"] = SOCKET_TIMEOUT_SECONDS
    pool = ConnectionPool(
        connection_class=_CONNECTIONS[kind],
        **options,
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        health_check_interval=HEALTH_CHECK_SECONDS,
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), retries),
        retry_on_error=[ConnectionError, TimeoutError],
    )
    return ArqRedis(
        connection_pool=pool,
        job_serializer=serialize,
        job_deserializer=orjson.loads,
        default_queue_name=queue_name(namespace),
    )


def _id_of(delivery: tuple[UUID, int]) -> str:
    """The arq id ``operation:dispatch``, so that no stale key can block a new delivery."""
    return f"{delivery[0]}:{delivery[1]}"


class ArqQueue:
    """``OperationQueue`` over arq: the same keys as ``ArqRedis.enqueue_job``, for many operations in one round trip."""

    def __init__(self, redis: ArqRedis, *, namespace: str) -> None:
        self._redis = redis
        self._queue = queue_name(namespace)
        self._control = control_channel(namespace)
        self._forget = Batches(self._forget_all)

    async def enqueue(self, deliveries: Sequence[tuple[UUID, int]]) -> bool:
        """Write the jobs and wake the workers; False if Redis does not answer."""
        if not deliveries:
            return True
        now = timestamp_ms()
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS), self._redis.pipeline(transaction=True) as pipe:
                for delivery in deliveries:
                    arguments = (str(delivery[0]), delivery[1])
                    job = serialize_job(RUN_OPERATION, arguments, {}, None, now, serializer=serialize)
                    pipe.psetex(job_key_prefix + _id_of(delivery), JOB_TTL_MS, job)
                pipe.zadd(self._queue, {_id_of(delivery): now for delivery in deliveries})
                pipe.publish(self._control, orjson.dumps({"wake": [_id_of(delivery) for delivery in deliveries]}))
                await pipe.execute()
        except UNAVAILABLE as error:
            log.warning("enqueue_failed", operations=len(deliveries), error=type(error).__name__)
            return False
        return True

    async def find_queued(self, deliveries: Sequence[tuple[UUID, int]]) -> set[UUID]:
        """See the port."""
        if not deliveries:
            return set()
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                scores = await self._redis.zmscore(self._queue, [_id_of(delivery) for delivery in deliveries])
        except UNAVAILABLE:
            return {operation_id for operation_id, _ in deliveries}
        return {delivery[0] for delivery, score in zip(deliveries, scores, strict=True) if score is not None}

    async def forget(self, deliveries: Sequence[tuple[UUID, int]]) -> None:
        """See the port; if Redis does not answer, a later delivery is stale and returns at once."""
        await self._forget(deliveries)

    async def _forget_all(self, calls: Sequence[Sequence[tuple[UUID, int]]]) -> list[None]:
        ids = [_id_of(delivery) for deliveries in calls for delivery in deliveries]
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                await self._redis.zrem(self._queue, *ids)
        except UNAVAILABLE as error:
            log.warning("forget_failed", operations=len(ids), error=type(error).__name__)
        return [None] * len(calls)

    async def poke(self, subject: UUID) -> None:
        """Publish it; Postgres' own poke and the next heartbeat say the same."""
        await self._publish({"poke": str(subject)})

    async def tell_lanes(self, operation_id: UUID, change: LaneChange) -> None:
        """Publish it; whoever it is meant for looks into Postgres too. An older worker takes it for a wake-up."""
        await self._publish({"wake": [], "lanes": change.value, "operation": str(operation_id)})

    async def _publish(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                await self._redis.publish(self._control, orjson.dumps(message))
        except UNAVAILABLE as error:
            log.warning("control_message_lost", **message, error=type(error).__name__)
