"""Fixtures of the progress tests."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from tests.progress.valkey import RestartableValkey, running_valkey


@pytest.fixture(scope="session")
def valkey() -> Iterator[RestartableValkey]:
    """One server for all tests that do not stop it."""
    with running_valkey() as server:
        yield server


@pytest.fixture
async def redis(valkey: RestartableValkey) -> AsyncIterator[Redis]:
    """A client of the shared server."""
    async with Redis.from_url(valkey.url) as client:
        yield client


@pytest.fixture
def namespace() -> str:
    """A prefix of this test's own."""
    return f"test-{uuid4().hex[:8]}"
