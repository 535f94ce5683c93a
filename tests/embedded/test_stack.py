"""The embedded stack as a whole: three servers that start, survive and end together."""

import asyncio
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.domain.errors import DataFolderBusyError, EmbeddedStartError
from app.embedded.folder import DataFolder
from app.embedded.stack import EmbeddedStack
from tests.embedded.owner import (
    list_processes_in,
    list_readable_by_others,
    owner,
    seconds_since,
    temporary_folder,
    wait_until,
)

COLLECTION = {"vectors": {"dense": {"size": 4, "distance": "Cosine"}}}


@pytest.fixture
def data() -> Iterator[Path]:
    """A path where nothing exists yet."""
    with temporary_folder() as path:
        yield path


async def call_vectors(stack: EmbeddedStack, method: str, path: str, **content: object) -> httpx.Response:
    """One authenticated request to the vector server."""
    headers = {"api-key": stack.qdrant_api_key}
    async with httpx.AsyncClient(base_url=stack.qdrant_url, headers=headers, timeout=10, trust_env=False) as client:
        return await client.request(method, path, json=content or None)


async def open_database(stack: EmbeddedStack) -> "asyncpg.Connection[asyncpg.Record]":
    """A plain connection to the database."""
    return await asyncpg.connect(stack.database_url.replace("+asyncpg", ""), timeout=10)


async def write_everywhere(stack: EmbeddedStack) -> None:
    """Leave something in each of the three servers."""
    database = await open_database(stack)
    await database.execute("CREATE TABLE notes AS SELECT 'kept' AS body")
    await database.close()
    async with Redis.from_url(stack.redis_url) as redis:
        await redis.set("note", "kept")
    response = await call_vectors(stack, "PUT", "/collections/notes", **COLLECTION)
    response.raise_for_status()


async def read_everywhere(stack: EmbeddedStack) -> tuple[object, object, int]:
    """What is there: a row, a value, the status of the collection."""
    database = await open_database(stack)
    row = await database.fetchval("SELECT body FROM notes")
    await database.close()
    async with Redis.from_url(stack.redis_url) as redis:
        value = await redis.get("note")
    response = await call_vectors(stack, "GET", "/collections/notes")
    return row, value, response.status_code


async def wait_until_kept(stack: EmbeddedStack) -> None:
    """Poll until all three answer again with what was written."""
    async with asyncio.timeout(30):
        while True:
            try:
                if await read_everywhere(stack) == KEPT:
                    return
            except (OSError, httpx.HTTPError, RedisError, asyncpg.PostgresError, asyncpg.InterfaceError):
                pass
            await asyncio.sleep(0.05)


KEPT = ("kept", b"kept", 200)


def mode_of(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_restart_keeps_everything(data: Path) -> None:
    """What the three servers hold is there after an orderly end, and no process stays."""
    async with EmbeddedStack(data) as stack:
        await write_everywhere(stack)
    left = list_processes_in(data)

    async with EmbeddedStack(data) as stack:
        kept = await read_everywhere(stack)

    assert kept == KEPT
    assert left == []


async def test_existing_data_starts_quickly(data: Path) -> None:
    """A second start takes seconds, and tells how long each server took."""
    async with EmbeddedStack(data):
        pass
    begun = time.monotonic()

    async with EmbeddedStack(data) as stack:
        took = seconds_since(begun)
        phases = stack.start_seconds

    assert took < 10
    assert set(phases) == {"postgres", "valkey", "vectors"}
    assert all(0 < seconds <= took for seconds in phases.values())


async def test_kill_of_the_owner_loses_nothing_and_leaves_nothing(data: Path) -> None:
    """After kill -9 of the owner all its servers end, and the next owner finds all data."""
    async with EmbeddedStack(data) as stack:
        await write_everywhere(stack)
    with owner("stack", data) as other:
        other.kill()
        await wait_until(lambda: not list_processes_in(data))

    async with EmbeddedStack(data) as stack:
        kept = await read_everywhere(stack)

    assert kept == KEPT


async def test_a_start_right_after_a_kill_works(data: Path) -> None:
    """A new owner outlasts the servers of the one that was killed a moment ago."""
    with owner("stack", data) as other:
        other.kill()

        async with EmbeddedStack(data) as stack:
            await write_everywhere(stack)
            kept = await read_everywhere(stack)
            fresh = set(stack.pids.values()).isdisjoint(other.told["pids"].values())

    assert kept == KEPT
    assert fresh


async def test_an_owner_that_is_asked_to_end_leaves_nothing(data: Path) -> None:
    """After SIGTERM of the owner no server and no socket stays."""
    with owner("stack", data) as other:
        other.terminate()

    assert list_processes_in(data) == []
    assert [path for path in (data / "run").rglob("*") if path.is_socket()] == []


@pytest.mark.parametrize("sign", ["locks/postgres.lock", "postgres.new/base", "postgres/postmaster.pid"])
async def test_a_kill_in_the_middle_of_the_first_start_is_no_obstacle(data: Path, sign: str) -> None:
    """Whatever a first start had made when its owner was killed, the next one ends with a working stack."""
    with owner("stack", data, ready=False) as other:
        await wait_until((data / sign).exists)
        other.kill()

        async with EmbeddedStack(data) as stack:
            await write_everywhere(stack)
            kept = await read_everywhere(stack)

    assert kept == KEPT


async def test_a_second_owner_is_refused_at_once(data: Path) -> None:
    """The error names the owner, and the owner is not disturbed."""
    with owner("stack", data) as other:
        begun = time.monotonic()

        with pytest.raises(DataFolderBusyError, match=f"process {other.pid} "):
            async with EmbeddedStack(data):
                pass

        assert seconds_since(begun) < 2
        assert list_processes_in(data)


@pytest.mark.parametrize("name", ["postgres", "valkey", "vectors"])
async def test_a_server_that_dies_comes_back_on_its_address(data: Path, name: str) -> None:
    """A killed server is reported, started again, and found with its data where it was."""
    async with EmbeddedStack(data) as stack:
        await write_everywhere(stack)
        before = (stack.database_url, stack.redis_url, stack.qdrant_url)
        pid = stack.pids[name]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        async with asyncio.timeout(10):
            ended = await stack.wait_for_failure()
        await wait_until_kept(stack)
        after = (stack.database_url, stack.redis_url, stack.qdrant_url)

    assert ended == name
    assert after == before


async def test_a_server_that_cannot_start_stops_the_others(data: Path) -> None:
    """A failed start names the server, shows its log, and leaves no process and no lock behind."""
    async with EmbeddedStack(data):
        pass
    (data / "postgres" / "global" / "pg_control").rename(data / "hidden")

    with pytest.raises(EmbeddedStartError, match=r"postgres did not start(.|\n)*pg_control"):
        async with EmbeddedStack(data):
            pass

    assert list_processes_in(data) == []
    assert not DataFolder(data).is_owned()


async def test_a_cancelled_owner_still_stops_its_servers(data: Path) -> None:
    """Cancelling whoever runs the stack, even twice, ends every server before the lock is given back."""
    entered = asyncio.Event()

    async def own() -> None:
        async with EmbeddedStack(data):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(own())
    await wait_until(lambda: entered.is_set() or task.done())
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert list_processes_in(data) == []
    assert not DataFolder(data).is_owned()


async def test_a_long_path_works(data: Path) -> None:
    """A data folder too deep and too odd for sockets works, and its temporary socket folder is gone afterwards."""
    deep = data / ("x y" * 25) / ("é:" * 15)

    async with EmbeddedStack(deep) as stack:
        await write_everywhere(stack)
        kept = await read_everywhere(stack)

    assert kept == KEPT
    assert not DataFolder(deep).run.exists()


async def test_nothing_is_open_to_others(data: Path) -> None:
    """No file can be read by others, and the only TCP port is on loopback and asks for the key."""
    async with EmbeddedStack(data) as stack:
        await write_everywhere(stack)
        readable = list_readable_by_others(data)
        address = urlsplit(stack.qdrant_url)
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            stranger = await client.get(f"{stack.qdrant_url}/collections")

    assert readable == []
    assert mode_of(data) & 0o066 == 0
    assert socket.inet_aton(str(address.hostname)) == socket.inet_aton("127.0.0.1")
    assert stranger.status_code in {401, 403}
