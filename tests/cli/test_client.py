"""The client behind every command, against servers that fail."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve

from app.cli import client as module
from app.cli.client import Client, CliError, ServerGoneError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect without long pauses."""
    monkeypatch.setattr(module, "RECONNECT_SECONDS", 0.01)


@asynccontextmanager
async def watching(answer: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[Client]:
    """A client of a WebSocket server that treats each connection so."""
    async with serve(answer, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        client = Client(f"http://127.0.0.1:{port}", "key")
        yield client
        await client.aclose()


def event(number: int, kind: str = "ingest_progress") -> str:
    """An event as the server sends it."""
    return orjson.dumps({"id": f"{number}-0", "type": kind, "data": {}}).decode()


async def test_a_lost_connection_is_taken_up_after_the_last_event() -> None:
    """Each connection breaks after one event; the next one asks for what came after it."""
    asked: list[str | None] = []

    async def answer(socket: ServerConnection) -> None:
        assert socket.request is not None
        asked.append(parse_qs(urlsplit(socket.request.path).query).get("after", [None])[0])
        number = len(asked)
        await socket.send(event(number, "operation_completed" if number == 3 else "ingest_progress"))
        socket.transport.abort() if number == 1 else await socket.close(1012)

    async with watching(answer) as client:
        seen = [item["id"] async for item in client.watch("x")]

    assert seen == ["1-0", "2-0", "3-0"]
    assert asked == [None, "1-0", "2-0"]


@pytest.mark.parametrize(
    ("close_code", "code"), [(4401, "not_authenticated"), (4403, "permission_denied"), (4404, "operation_not_found")]
)
async def test_a_refused_watch_says_why_at_once(close_code: int, code: str) -> None:
    """What connecting again cannot help is not tried again."""
    connections = 0

    async def answer(socket: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        await socket.close(close_code)

    async with watching(answer) as client:
        with pytest.raises(CliError) as caught:
            _ = [item async for item in client.watch("x")]

    assert caught.value.code == code
    assert connections == 1


@pytest.mark.parametrize("close_code", [1000, 1011, 4008])
async def test_a_watch_that_never_gets_anywhere_is_given_up(close_code: int) -> None:
    """A server that closes each connection at once, whatever it says, does not hold a command for ever."""
    connections = 0

    async def answer(socket: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        await socket.close(close_code)

    async with watching(answer) as client, asyncio.timeout(20):
        with pytest.raises(ServerGoneError):
            _ = [item async for item in client.watch("x")]

    assert connections == module.RECONNECTS + 1


async def test_a_watch_after_the_end_ends() -> None:
    """A client that lost its server after the final event asks again and hears nothing more, which is no failure."""

    async def answer(socket: ServerConnection) -> None:
        await socket.close(1000)

    async with watching(answer) as client:
        seen = [item async for item in client.watch("x", after="3-0")]

    assert seen == []


@pytest.mark.parametrize("password", ["hunter2", "p@hunter2", "12/hunter2", "12/a@hunter2"])
def test_a_password_in_the_address_is_not_shown(password: str) -> None:
    """Messages name the server without it, however it is written."""
    shown = Client(f"http://user:{password}@host:1/", "key").shown

    assert "hunter2" not in shown
    assert shown.endswith("host:1")


def test_a_password_that_breaks_the_address_is_not_shown() -> None:
    """It is taken for a port, which the message does not repeat."""
    with pytest.raises(CliError) as refused:
        Client("http://user:hunter2/more@host:1/", "key")

    assert refused.value.code == "invalid_setting"
    assert "hunter2" not in refused.value.detail
    assert "VECLOOM_URL" in refused.value.detail
