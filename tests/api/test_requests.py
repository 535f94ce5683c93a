"""Every request has an id, one log line and a limit, and a bug is told to the log alone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from app.domain.operations import OperationState
from tests.api.conftest import REQUEST_MAX_BYTES, Edge
from tests.api.test_http import assert_problem
from tests.api.test_streams import AUTHENTICATED, open_socket, read_until_close
from tests.progress.valkey import wait_until

JSON = {"Content-Type": "application/json"}
SEARCH = "/api/v1/collections/handbook/search"


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """What is logged meanwhile, with its context."""
    with capture_logs([merge_contextvars]) as captured:
        yield captured


def of(lines: list[Any], event: str) -> list[Any]:
    """The lines of one event."""
    return [line for line in lines if line["event"] == event]


async def test_a_bug_is_one_line_under_the_request_id(edge: Edge, client: httpx.AsyncClient, lines: list[Any]) -> None:
    """The answer names the id under which the log has the exception, and nothing else of it."""
    edge.operations.error = RuntimeError("password=hunter2")

    response = await client.get(f"/api/v1/operations/{uuid4()}", headers={"X-Request-Id": "r-1"})

    body = assert_problem(response, 500, "internal_error")
    [failed] = of(lines, "request_failed")
    [done] = of(lines, "request_done")
    assert body["request_id"] == response.headers["x-request-id"] == "r-1"
    assert (failed["request_id"], failed["log_level"], failed["exc_info"]) == ("r-1", "error", True)
    assert (done["request_id"], done["status"]) == ("r-1", 500)
    assert failed["route"] == "/api/v1/operations/{operation_id}"
    assert "hunter2" not in response.text + str(lines)


async def test_a_bug_counts_as_an_answer(edge: Edge, client: httpx.AsyncClient) -> None:
    """A 500 is in the metrics like any other status."""
    edge.operations.error = RuntimeError()
    await client.get(f"/api/v1/operations/{uuid4()}")

    metrics = (await client.get("/metrics")).text

    assert 'route="/api/v1/operations/{operation_id}",status="500"} 1.0' in metrics


async def test_each_request_is_one_line(client: httpx.AsyncClient, lines: list[Any]) -> None:
    """Method, route template, status and milliseconds; neither path nor query."""
    await client.get("/api/v1/collections/my-private-name?token=hunter2")
    await client.get("/api/v1/nowhere/hunter2")
    await client.post(SEARCH, json={"query": "hunter2"})

    done = of(lines, "request_done")
    assert [(line["method"], line["route"], line["status"]) for line in done] == [
        ("GET", "/api/v1/collections/{collection}", 404),
        ("GET", "unmatched", 404),
        ("POST", "/api/v1/collections/{collection}/search", 200),
    ]
    assert all(line["log_level"] == "info" and line["ms"] >= 0 for line in done)
    assert len({line["request_id"] for line in done}) == 3
    assert "hunter2" not in str(lines)
    assert "my-private-name" not in str(lines)


@pytest.mark.parametrize("asked", ["", "a b", "x" * 129, "a\u00e9", 'a"b', "a;b"])
async def test_a_strange_id_is_replaced(client: httpx.AsyncClient, asked: str) -> None:
    """What is no plain word is not taken over into logs and headers."""
    response = await client.get("/api/v1/health/live", headers={b"X-Request-Id": asked.encode()})

    answered = response.headers["x-request-id"]
    assert answered != asked
    assert len(answered) == 32


async def test_a_socket_is_a_request_too(edge: Edge, port: int, lines: list[Any]) -> None:
    """Its handshake carries the id, its line the close code."""
    operation = edge.add_operation(OperationState.RUNNING)
    async with open_socket(port, f"operations/{operation.id}?after=x") as connection:
        _, code = await read_until_close(connection)

    async def is_logged() -> bool:
        return bool(of(lines, "request_done"))

    await wait_until(is_logged)
    [done] = of(lines, "request_done")
    assert connection.response is not None
    assert connection.response.headers["x-request-id"] == done["request_id"]
    assert (done["method"], done["route"], done["status"]) == (
        "WEBSOCKET",
        "/api/v1/ws/operations/{operation_id}",
        code,
    )


async def test_a_bug_closes_a_socket(edge: Edge, port: int, lines: list[Any]) -> None:
    """The client learns that it was not its fault, the log learns what."""
    operation = edge.add_operation(OperationState.RUNNING)
    edge.operations.error = RuntimeError("hunter2")

    async with open_socket(port, f"operations/{operation.id}") as connection:
        _, code = await read_until_close(connection)

    assert code == 1011
    assert len(of(lines, "request_failed")) == 1


async def test_a_body_has_a_limit(edge: Edge, client: httpx.AsyncClient) -> None:
    """A body of exactly the limit is read, one byte more is refused with a stable code."""
    fitting = b'{"query": "a"}'.ljust(REQUEST_MAX_BYTES)

    taken = await client.post(SEARCH, content=fitting, headers=JSON)
    refused = await client.post(SEARCH, content=fitting + b" ", headers=JSON)

    assert taken.status_code == 200
    body = assert_problem(refused, 413, "request_too_large")
    assert str(REQUEST_MAX_BYTES) in body["detail"]


async def test_a_body_without_length_has_the_same_limit(edge: Edge, port: int) -> None:
    """Chunks are counted as they come, so a body that declares nothing is refused too."""
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 20 * REQUEST_MAX_BYTES:
            taken += 10_000
            yield b" " * (10_000)
            await asyncio.sleep(0)

    async with httpx.AsyncClient(headers=AUTHENTICATED, timeout=20) as client:
        refused = await client.post(f"http://127.0.0.1:{port}{SEARCH}", content=endless(), headers=JSON)

    assert_problem(refused, 413, "request_too_large")
