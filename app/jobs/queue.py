"""arq as the wake-up channel: ids go in, nothing is remembered there."""

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import orjson
import structlog
from arq.connections import ArqRedis
from redis.asyncio import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

RUN_OPERATION = "run_operation"
SOCKET_TIMEOUT_SECONDS = 5
HEALTH_CHECK_SECONDS = 15
CALL_TIMEOUT_SECONDS = 3


def queue_name(namespace: str) -> str:
    """The arq queue of a namespace."""
    return f"{namespace}:queue"


def control_channel(namespace: str) -> str:
    """Where workers hear of cancel requests."""
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


class ArqQueue:
    """``OperationQueue`` over arq. The arq id is ``operation:dispatch``, so no stale key can block a new one."""

    def __init__(self, redis: ArqRedis, *, namespace: str) -> None:
        self._redis = redis
        self._queue = queue_name(namespace)
        self._control = control_channel(namespace)

    async def enqueue(self, operation_id: UUID, dispatch: int) -> bool:
        """Announce; False if Redis does not answer."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                await self._redis.enqueue_job(
                    RUN_OPERATION, str(operation_id), dispatch, _job_id=f"{operation_id}:{dispatch}"
                )
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("enqueue_failed", operation_id=str(operation_id), error=type(error).__name__)
            return False
        return True

    async def is_queued(self, operation_id: UUID, dispatch: int) -> bool:
        """Whether the announcement waits; True if Redis does not answer."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                return await self._redis.zscore(self._queue, f"{operation_id}:{dispatch}") is not None
        except (RedisError, OSError, TimeoutError):
            return True

    async def forget(self, operation_id: UUID, dispatch: int) -> None:
        """Remove the announcement; if Redis does not answer, a later delivery is stale and returns at once."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                await self._redis.zrem(self._queue, f"{operation_id}:{dispatch}")
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("forget_failed", operation_id=str(operation_id), error=type(error).__name__)

    async def poke_cancel(self, operation_id: UUID) -> None:
        """Publish the request; if it is lost, the next heartbeat finds it in Postgres."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                await self._redis.publish(self._control, orjson.dumps({"cancel": str(operation_id)}))
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("poke_failed", operation_id=str(operation_id), error=type(error).__name__)
