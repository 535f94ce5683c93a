"""A server that is killed in the middle of an upload loses nothing that it had said it has."""

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.harness import environment_of, wait_until

MIB = 1024 * 1024
KEY = "k" * 40
BYTES = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}


class Served:
    """The API in a process of its own."""

    def __init__(self, settings: Settings, log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self._environment = environment_of(settings) | {"VECLOOM_API_KEY": KEY}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self._port}/api/v1", headers={"Authorization": f"Bearer {KEY}"}
        )

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--port", str(self._port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

        async def is_ready() -> bool:
            try:
                return (await self.http.get("/collections")).status_code == 200
            except httpx.TransportError:
                return False

        await wait_until(is_ready)

    def kill(self) -> None:
        """With no time to put anything away."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(timeout=30)
            self._process = None


@pytest.fixture
async def served(settings: Settings, tmp_path: Path) -> AsyncIterator[Served]:
    """A server with the collection ``sent``."""
    server = Served(settings, tmp_path / "api.log")
    try:
        await server.start()
        assert (await server.http.post("/collections", json={"name": "sent"})).status_code == 202
        yield server
    finally:
        server.kill()
        await server.http.aclose()


async def begin(http: httpx.AsyncClient, size: int) -> str:
    """Begin an upload; where it goes on."""
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(size), "Upload-Metadata": "filename YS50eHQ="}
    answer = await http.post("/collections/sent/uploads", headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"].removeprefix("/api/v1")


async def offset_of(http: httpx.AsyncClient, location: str) -> int:
    """How much the server says it has."""
    return int((await http.head(location, headers={"Tus-Resumable": "1.0.0"})).headers["upload-offset"])


@asynccontextmanager
async def sending(http: httpx.AsyncClient, location: str, content: bytes) -> AsyncIterator[asyncio.Task[Any]]:
    """One request that sends all but the last byte, and hangs then."""

    async def slowly() -> AsyncIterator[bytes]:
        for start in range(0, len(content) - 1, 256 * 1024):
            yield content[start : min(start + 256 * 1024, len(content) - 1)]
        await asyncio.Event().wait()

    headers = {**BYTES, "Upload-Offset": "0", "Content-Length": str(len(content))}
    task = asyncio.create_task(http.patch(location, headers=headers, content=slowly(), timeout=60))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_an_upload_goes_on_after_its_server_was_killed(served: Served) -> None:
    """From what was noted of it: a request in the middle costs some megabytes at most, and no byte is wrong."""
    content = os.urandom(30 * MIB)
    location = await begin(served.http, len(content))

    async def is_noted() -> bool:
        return int((await served.http.get(location)).json()["received"]) >= 16 * MIB

    async with sending(served.http, location, content):
        await wait_until(is_noted)
        served.kill()
    await served.start()
    offset = await offset_of(served.http, location)
    rest = await served.http.patch(
        location, headers={**BYTES, "Upload-Offset": str(offset)}, content=content[offset:], timeout=60
    )

    assert 16 * MIB <= offset < len(content)
    assert rest.status_code == 204, rest.text
    upload = (await served.http.get(location)).json()
    assert (upload["state"], upload["sha256"]) == ("complete", hashlib.sha256(content).hexdigest())
    assert rest.headers["vecloom-operation"]


async def test_whenever_it_is_killed_what_it_has_acknowledged_is_there(served: Served, settings: Settings) -> None:
    """Forms one after the other, killed in the middle: each that was answered is complete, and each is whole or not."""
    answered: dict[str, str] = {}
    for round_number in range(3):

        async def send_forms(number: int = round_number) -> None:
            for count in range(1000):
                content = os.urandom(300_000)
                path = f"{number}-{count}.txt"
                try:
                    answer = await served.http.post("/collections/sent/documents", files={"file": (path, content)})
                except httpx.TransportError:
                    return
                assert answer.status_code == 202, answer.text
                answered[path] = hashlib.sha256(content).hexdigest()

        before = len(answered)
        sender = asyncio.create_task(send_forms())

        async def some_are_answered(least: int = before + 5) -> bool:
            return len(answered) >= least

        await wait_until(some_are_answered)
        served.kill()
        await sender
        await served.start()

    listed = (await served.http.get("/collections/sent/uploads", params={"state": "complete", "limit": 1000})).json()
    complete = {upload["path"]: upload["sha256"] for upload in listed["uploads"]}
    assert settings.upload_folder is not None
    stored = {
        hashlib.sha256(file.read_bytes()).hexdigest() for file in settings.upload_folder.rglob("*") if file.is_file()
    }

    # one that is complete and was not answered was killed between the two
    assert answered.items() <= complete.items()
    assert len(complete) - len(answered) <= 3
    assert set(complete.values()) <= stored
    operations = (await served.http.get("/operations")).json()["operations"]
    assert [operation["state"] for operation in operations if operation["kind"] == "APPEND"] == ["pending"]
