"""Watchers over real sockets: one that does not read must not slow down the others."""

import asyncio
import os
import socket
from typing import Any, Self
from uuid import UUID

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from app.api import events
from app.api.serving import serving
from app.bootstrap import Parts, open_api
from app.db.operations import OperationRepository
from tests.harness import Api

EVENTS = 400
BYTES = 64 * 1024
LAST = f"file:///{EVENTS - 1}"


class SilentWatcher:
    """A WebSocket client that reads nothing until it is asked to, over a kernel buffer of a few packets."""

    def __init__(self, address: str, headers: dict[str, str]) -> None:
        self._protocol = ClientProtocol(parse_uri(address))
        self._headers = headers
        self._socket = socket.socket()
        self._socket.setblocking(False)  # noqa: FBT003 — the socket's own signature
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, ("127.0.0.1", self._protocol.uri.port))
        request = self._protocol.connect()
        request.headers.update(self._headers)
        self._protocol.send_request(request)
        await loop.sock_sendall(self._socket, b"".join(self._protocol.data_to_send()))
        self._protocol.receive_data(await loop.sock_recv(self._socket, 4096))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def read_all(self) -> list[dict[str, Any]]:
        """Every whole event, to the last one or to the end of the connection."""
        loop = asyncio.get_running_loop()
        seen: list[dict[str, Any]] = []
        while LAST not in _uris(seen)[-1:] and (data := await loop.sock_recv(self._socket, 2**20)):
            self._protocol.receive_data(data)
            frames = [item for item in self._protocol.events_received() if isinstance(item, Frame)]
            seen += [orjson.loads(frame.data) for frame in frames if frame.opcode is Opcode.TEXT]
        return seen


async def _read(socket: ClientConnection) -> list[dict[str, Any]]:
    seen = []
    async for message in socket:
        seen.append(orjson.loads(message))
        if seen[-1]["data"].get("uri") == LAST:
            break
    return seen


def _uris(seen: list[dict[str, Any]]) -> list[str]:
    return [event["data"]["uri"] for event in seen if event["type"] == "document_failed"]


@pytest.mark.timeout(120)
async def test_a_watcher_that_does_not_read_is_cut_off_alone(
    api: Api, parts: Parts, folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """25 MB of events: who reads gets every one at once; who does not is closed, and catches up by its last id.

    How much the kernel takes for a client that does not read differs from machine to machine, up to all of it.
    """
    monkeypatch.setattr(events, "SEND_TIMEOUT_SECONDS", 0.5)
    created = await api.create("notes", folder)
    async with parts.database.begin() as connection:
        operation = await OperationRepository(connection).get(UUID(created["operation_id"]))
    headers = {"Authorization": api.client.headers["authorization"]}

    async with open_api(parts) as application, serving(application, host="127.0.0.1", port=0) as url:
        address = f"{url.replace('http', 'ws', 1)}/api/v1/ws/operations/{operation.id}"
        async with (
            connect(address, additional_headers=headers, max_size=None) as quick,
            SilentWatcher(address, headers) as silent,
        ):
            reading = asyncio.create_task(_read(quick))
            async with parts.events.open(operation) as reporter:
                for number in range(EVENTS):
                    data = {"document_id": "x", "uri": f"file:///{number}", "error_code": "y"}
                    await reporter.send_update(
                        "document_failed", data | {"error_message": os.urandom(BYTES // 2).hex()}
                    )
            async with asyncio.timeout(20):
                seen = await reading

            await asyncio.sleep(1)  # longer than an event may wait to be taken
            async with asyncio.timeout(40):
                got = await silent.read_all()
        if _uris(got)[-1] != LAST:
            async with connect(f"{address}?after={got[-1]['id']}", additional_headers=headers, max_size=None) as again:
                got += await _read(again)

    uris = [f"file:///{number}" for number in range(EVENTS)]
    assert _uris(seen) == uris
    assert _uris(got) == uris
