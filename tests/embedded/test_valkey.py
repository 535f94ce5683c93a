"""The embedded Valkey: keeps what it acknowledged, whatever ends it."""

import os
import signal
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from redis.asyncio import Redis

from app.domain.errors import EmbeddedStartError
from app.embedded.valkey import Valkey
from tests.embedded.owner import (
    get_pid,
    list_processes_in,
    list_readable_by_others,
    owner,
    running,
    temporary_folder,
    wait_until,
    wait_until_ready,
)


@pytest.fixture
def data() -> Iterator[Path]:
    """A path where nothing exists yet."""
    with temporary_folder() as path:
        yield path


@asynccontextmanager
async def client(url: str) -> AsyncIterator["Redis"]:
    """A client that is closed at the end."""
    redis = Redis.from_url(url, decode_responses=True, socket_timeout=5)
    try:
        yield redis
    finally:
        await redis.aclose()


async def write_note(url: str) -> None:
    """Set one key."""
    async with client(url) as redis:
        await redis.set("note", "kept")


async def read_note(url: str) -> str | None:
    """The value of the key."""
    async with client(url) as redis:
        value: str | None = await redis.get("note")
        return value


async def test_it_never_evicts_and_writes_every_change(data: Path) -> None:
    """Keys leave only when told to, and the append-only file is on."""
    async with running(Valkey, data) as (valkey, _, _), client(valkey.url) as redis:
        shown: dict[str, str] = {}
        for name in ("maxmemory-policy", "appendonly", "appendfsync", "save", "port"):
            shown |= await redis.config_get(name)

    assert shown == {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "port": "0",
    }


async def test_only_its_socket_leads_to_it(data: Path) -> None:
    """No TCP port is open, and the socket is for this user."""
    async with running(Valkey, data) as (valkey, service, _):
        ports = psutil.Process(service.pid).net_connections(kind="inet")
        mode = stat.S_IMODE(valkey.socket.stat().st_mode)

    assert ports == []
    assert mode == 0o700


async def test_a_restart_keeps_keys(data: Path) -> None:
    """What was written before an orderly stop is there after the next start."""
    async with running(Valkey, data) as (valkey, _, _):
        await write_note(valkey.url)

    async with running(Valkey, data) as (valkey, _, _):
        note = await read_note(valkey.url)

    assert note == "kept"
    assert list_processes_in(data) == []


async def test_kill_of_the_owner_ends_it_and_loses_nothing(data: Path) -> None:
    """After kill -9 of the owner no Valkey stays, and the keys are there again."""
    with owner("valkey", data) as other:
        await write_note(other.told["url"])
        other.kill()
        await wait_until(lambda: not list_processes_in(data))

    async with running(Valkey, data) as (valkey, _, _):
        note = await read_note(valkey.url)

    assert note == "kept"


async def test_it_is_started_again_when_it_dies(data: Path) -> None:
    """A killed Valkey is replaced on the same socket, with its keys."""
    async with running(Valkey, data) as (valkey, service, ends):
        await write_note(valkey.url)
        first = get_pid(service)
        os.kill(first, signal.SIGKILL)
        await wait_until(lambda: service.pid != first)
        await wait_until_ready(valkey)
        note = await read_note(valkey.url)

    assert ends == ["valkey"]
    assert note == "kept"


async def test_a_write_cut_in_half_does_not_stop_it(data: Path) -> None:
    """A last write that a power cut left incomplete is dropped; the ones before it stay."""
    async with running(Valkey, data) as (valkey, _, _):
        await write_note(valkey.url)
    (written,) = (data / "valkey" / "appendonlydir").glob("*.incr.aof")
    with written.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nno")

    async with running(Valkey, data) as (valkey, _, _):
        note = await read_note(valkey.url)

    assert note == "kept"


async def test_a_failed_start_shows_the_end_of_the_log(data: Path) -> None:
    """The error carries what Valkey said last, and nothing keeps running."""
    async with running(Valkey, data) as (valkey, _, _):
        await write_note(valkey.url)
    (data / "valkey" / "appendonlydir" / "appendonly.aof.manifest").write_text("not a manifest\n")

    with pytest.raises(EmbeddedStartError, match=r"exit code 1(.|\n)*manifest"):
        async with running(Valkey, data):
            pass

    assert list_processes_in(data) == []


async def test_nobody_else_can_read_it(data: Path) -> None:
    """Data, logs and the socket are closed to other users of the machine."""
    async with running(Valkey, data) as (valkey, _, _):
        await write_note(valkey.url)

        readable = list_readable_by_others(data)

    assert readable == []
