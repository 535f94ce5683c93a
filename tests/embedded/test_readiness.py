"""What the stack thinks of a Postgres that ends while it is asked whether it is ready."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.embedded.folder import DataFolder
from app.embedded.postgres import PORT, Postgres
from tests.embedded.owner import temporary_folder

VERSION = b"server_version\x0018.0\x00"
ENCODING = b"client_encoding\x00UTF8\x00"


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


READY = (
    _message(b"R", struct.pack("!i", 0))
    + _message(b"S", VERSION)
    + _message(b"S", ENCODING)
    + _message(b"K", struct.pack("!ii", 1, 1))
    + _message(b"Z", b"I")
)
"""Everything a server says until a session may begin."""


@contextmanager
def ending_server(path: Path, answer: bytes) -> Iterator[None]:
    """A server that says its part to the first client and is gone before it hears another word."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        client, _ = listener.accept()
        client.recv(4096)
        client.sendall(answer)
        client.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join(timeout=5)
    listener.close()


@pytest.mark.parametrize("said", [len(READY), len(READY) - 6, 9, 0])
async def test_a_server_that_ends_while_it_is_asked_is_not_the_end_of_asking(said: int) -> None:
    """However far the session got, the answer is a plain yes or no, so that whoever keeps the server goes on."""
    with temporary_folder() as path:
        postgres = Postgres(DataFolder(path))
        postgres.socket_folder.mkdir(parents=True)

        with ending_server(postgres.socket_folder / f".s.PGSQL.{PORT}", READY[:said]):
            async with asyncio.timeout(20):
                answer = await postgres.is_ready()

        assert answer in (True, False)
