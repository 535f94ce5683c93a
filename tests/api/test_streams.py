"""WebSockets and server-sent events, over a real server."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app.domain.operations import OperationState
from tests.api.conftest import Edge
from tests.api.doubles import KEY
from tests.progress.valkey import wait_until

AUTHENTICATED = {"Authorization": f"Bearer {KEY}"}


def open_socket(port: int, path: str, headers: dict[str, str] | None = None) -> connect:
    """A WebSocket of the API."""
    return connect(
        f"ws://127.0.0.1:{port}/api/v1/ws/{path}",
        additional_headers=AUTHENTICATED if headers is None else headers,
        proxy=None,
    )


async def read_until_close(connection: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """All events and the close code."""
    events = []
    try:
        async with asyncio.timeout(20):
            while True:
                events.append(orjson.loads(await connection.recv()))
    except ConnectionClosed:
        return events, connection.close_code


async def test_a_socket_replays_follows_and_closes(edge: Edge, port: int) -> None:
    """Missed events, live events and the final one come as text frames, then the server says 1000."""
    operation = edge.add_operation(OperationState.RUNNING)
    reporter = edge.report(operation)
    await reporter.send_update("operation_started", {"attempt": 1})
    async with open_socket(port, f"operations/{operation.id}") as connection:
        first = orjson.loads(await connection.recv())
        await reporter.send_update("operation_completed", {"result": {}})

        rest, code = await read_until_close(connection)

    assert (first["type"], first["data"]) == ("operation_started", {"attempt": 1})
    assert [event["type"] for event in rest] == ["operation_completed"]
    assert code == 1000


async def test_a_socket_comes_back_after_an_event(edge: Edge, port: int) -> None:
    """``after`` leaves out what the client has."""
    operation = edge.add_operation(OperationState.RUNNING)
    reporter = edge.report(operation)
    await reporter.send_update("operation_started", {})
    async with open_socket(port, f"operations/{operation.id}") as connection:
        known = orjson.loads(await connection.recv())["id"]
    edge.operations.rows[operation.id] = edge.operations.finished(operation, OperationState.CANCELLED)
    await reporter.send_update("operation_cancelled", {})

    async with open_socket(port, f"operations/{operation.id}?after={known}") as connection:
        events, code = await read_until_close(connection)

    assert [event["type"] for event in events] == ["operation_cancelled"]
    assert code == 1000


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("operations", {}, 4401),
        ("operations?token=" + KEY, {}, 4401),
        (f"operations/{UUID(int=1)}", AUTHENTICATED, 4404),
        ("operations/no-id", AUTHENTICATED, 4404),
    ],
)
async def test_the_close_code_says_why(port: int, path: str, headers: dict[str, str], expected: int) -> None:
    """A socket that is refused is accepted and closed with the code of the reason."""
    async with open_socket(port, path, headers) as connection:
        _, code = await read_until_close(connection)

    assert code == expected


async def test_a_malformed_after_is_refused(edge: Edge, port: int) -> None:
    """An ``after`` that is no event id closes the socket at once."""
    operation = edge.add_operation(OperationState.RUNNING)

    async with open_socket(port, f"operations/{operation.id}?after=yesterday") as connection:
        _, code = await read_until_close(connection)

    assert code == 1008


async def test_a_database_outage_asks_to_come_back(edge: Edge, port: int) -> None:
    """If Postgres does not answer the client is told to try again later."""
    operation = edge.add_operation(OperationState.RUNNING)
    edge.operations.error = ConnectionRefusedError()

    async with open_socket(port, f"operations/{operation.id}") as connection:
        _, code = await read_until_close(connection)

    assert code == 1013


async def test_too_many_sockets_are_refused_until_one_leaves(edge: Edge, port: int) -> None:
    """The third watcher of a user gets 4429; a place is free again when one has left."""
    async with open_socket(port, "operations"):
        async with open_socket(port, "operations"), open_socket(port, "operations") as third:
            _, code = await read_until_close(third)

        async def is_free() -> bool:
            return bool(edge.application.state.slots.taken == 1)

        await wait_until(is_free)

    assert code == 4429


async def test_a_user_socket_gets_every_operation(edge: Edge, port: int) -> None:
    """Events of all of the caller's operations come over one socket, which stays open."""
    operations = [edge.add_operation(OperationState.RUNNING) for _ in range(2)]
    async with open_socket(port, "operations") as connection:

        async def is_watched() -> bool:
            return edge.hub.watchers == 1

        await wait_until(is_watched)
        await wait_until(lambda: is_subscribed(edge))
        for operation in operations:
            await edge.report(operation).send_update("operation_completed", {})

        events = [orjson.loads(await connection.recv()) for _ in operations]

    assert [event["operation_id"] for event in events] == [str(operation.id) for operation in operations]


async def is_subscribed(edge: Edge) -> bool:
    """Whether Redis knows of the user's watcher."""
    [(_, count)] = await edge.redis.pubsub_numsub(f"{edge.namespace}:user:{edge.identity.user_id}")
    return bool(count)


async def test_server_sent_events_are_the_same(edge: Edge, port: int) -> None:
    """The same events come as ``id``, ``event`` and ``data`` lines, and the response ends with the final one."""
    operation = edge.add_operation(OperationState.RUNNING)
    reporter = edge.report(operation)
    await reporter.send_update("operation_started", {})
    await reporter.send_update("operation_completed", {})
    edge.operations.rows[operation.id] = edge.operations.finished(operation, OperationState.COMPLETED)
    url = f"http://127.0.0.1:{port}/api/v1/operations/{operation.id}/events"

    async with httpx.AsyncClient(headers=AUTHENTICATED, timeout=20) as client:
        everything = await client.get(url)
        blocks = everything.text.strip().split("\n\n")
        first_id = blocks[0].splitlines()[0].removeprefix("id: ")
        rest = await client.get(url, headers={"Last-Event-ID": first_id})

    assert everything.headers["content-type"].startswith("text/event-stream")
    assert [block.splitlines()[1] for block in blocks] == ["event: operation_started", "event: operation_completed"]
    assert orjson.loads(blocks[0].splitlines()[2].removeprefix("data: "))["id"] == first_id
    assert rest.text.strip() == blocks[1]
    assert edge.application.state.slots.taken == 0


async def test_server_sent_events_end_in_good_order_in_an_outage(edge: Edge, port: int) -> None:
    """An answer that has begun can only end when Postgres is away; the client comes back after its last event."""
    operation = edge.add_operation(OperationState.RUNNING)
    await edge.report(operation).send_update("operation_started", {})
    url = f"http://127.0.0.1:{port}/api/v1/operations/{operation.id}/events"

    async with httpx.AsyncClient(headers=AUTHENTICATED, timeout=20) as client, client.stream("GET", url) as answer:
        lines = answer.aiter_lines()
        first = await anext(lines)
        edge.operations.error = ConnectionRefusedError()
        rest = [line async for line in lines]

    assert first.startswith("id: ")
    assert not any(line.startswith("id: ") for line in rest)


async def test_server_sent_events_have_the_same_limits(edge: Edge, port: int) -> None:
    """Unknown operations, malformed ids and too many watchers are problems, not streams."""
    operation = edge.add_operation(OperationState.RUNNING)
    url = f"http://127.0.0.1:{port}/api/v1/operations"
    async with httpx.AsyncClient(headers=AUTHENTICATED, timeout=20) as client:
        unknown = await client.get(f"{url}/{uuid4()}/events")
        malformed = await client.get(f"{url}/{operation.id}/events", headers={"Last-Event-ID": "x"})
        with edge.application.state.slots.hold(operation.user_id), edge.application.state.slots.hold(operation.user_id):
            too_many = await client.get(f"{url}/{operation.id}/events")

    assert [answer.json()["code"] for answer in (unknown, malformed, too_many)] == [
        "operation_not_found",
        "invalid_input",
        "too_many_watchers",
    ]
    assert too_many.status_code == 429


async def test_a_reader_that_leaves_frees_its_place(edge: Edge, port: int) -> None:
    """A client that closes its event stream is noticed, and nothing of it stays."""
    operation = edge.add_operation(OperationState.RUNNING)
    await edge.report(operation).send_update("operation_started", {})
    url = f"http://127.0.0.1:{port}/api/v1/operations/{operation.id}/events"
    async with httpx.AsyncClient(headers=AUTHENTICATED, timeout=20) as client, client.stream("GET", url) as response:
        first = await anext(response.aiter_lines())

    async def is_gone() -> bool:
        return bool(edge.application.state.slots.taken == 0 and edge.hub.watchers == 0)

    await wait_until(is_gone)
    assert first.startswith("id: ")
