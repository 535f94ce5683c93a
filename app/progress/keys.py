"""Looks after the streams of all operations in Redis: each has an expiry, and none outlives its operation."""

import re
from collections.abc import Sequence
from uuid import UUID

from redis.asyncio import Redis

from app.progress.events import stream_key
from app.progress.reporter import TTL_SECONDS

PER_SCAN = 500
NO_EXPIRY = -1


class ProgressKeys:
    """The streams of one namespace."""

    def __init__(self, redis: Redis, *, namespace: str = "", ttl_seconds: int = TTL_SECONDS) -> None:
        self._redis = redis
        self._prefix = stream_key(namespace, "")
        self._ttl_seconds = ttl_seconds

    async def scan(self, cursor: int) -> tuple[int, list[str]]:
        """Some keys of streams, and where to go on: 0 after the last."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._prefix) + "*"
        following, keys = await self._redis.scan(cursor, match=pattern, count=PER_SCAN)
        return int(following), [key.decode() if isinstance(key, bytes) else key for key in keys]

    async def list_without_expiry(self, keys: Sequence[str]) -> list[str]:
        """Those of these that would stay for ever."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.ttl(key)
            answers = await pipe.execute()
        return [key for key, seconds in zip(keys, answers, strict=True) if seconds == NO_EXPIRY]

    async def set_expiry(self, keys: Sequence[str]) -> None:
        """Give them the time to live that a stream has after its last event, unless somebody has done so meanwhile."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.expire(key, self._ttl_seconds, nx=True)
            await pipe.execute()

    async def drop(self, keys: Sequence[str]) -> None:
        """Delete streams."""
        if keys:
            await self._redis.unlink(*keys)

    def read_operation(self, key: str) -> UUID | None:
        """The operation that a key belongs to; None if it is no stream of one."""
        try:
            return UUID(key.removeprefix(self._prefix))
        except ValueError:
            return None
