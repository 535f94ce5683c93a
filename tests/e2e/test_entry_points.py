"""The processes people really start."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import orjson
import pytest
from websockets.asyncio.client import connect

from app.embedded.folder import DataFolder
from app.settings import Settings
from tests.harness import VECLOOM, Api, environment_of, run_cli, wait_until


async def test_arqs_own_command_runs_our_worker(api: Api, settings: Settings, folder: Path, tmp_path: Path) -> None:
    """``arq app.worker.WorkerSettings`` works as it is, and SIGTERM ends it."""
    with (tmp_path / "arq.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "arq", "app.worker.WorkerSettings"],
            env=environment_of(settings),
            stdout=log,
            stderr=log,
        )
    try:
        ended = await api.wait(await api.create("notes", folder))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)

    assert ended["state"] == "completed", (tmp_path / "arq.log").read_text()


async def test_the_api_process_serves_and_replays_over_a_socket(
    api: Api, worker: None, settings: Settings, folder: Path, tmp_path: Path
) -> None:
    """Uvicorn with the factory serves HTTP and a real WebSocket, which ends after the final event."""
    operation = await api.create("notes", folder)
    await api.wait(operation)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with (tmp_path / "api.log").open("wb") as log:
        command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--port", str(port)]
        process = subprocess.Popen(command, env=environment_of(settings), stdout=log, stderr=log)

    async def is_ready() -> bool:
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"http://127.0.0.1:{port}/api/v1/health/ready")).status_code == 200
            except httpx.TransportError:
                return False

    try:
        await wait_until(is_ready)
        url = f"ws://127.0.0.1:{port}/api/v1/ws/operations/{operation['operation_id']}"
        headers = {"Authorization": api.client.headers["authorization"]}
        async with connect(url, additional_headers=headers) as watching:
            events = [orjson.loads(message) async for message in watching]
        code = watching.close_code
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)

    assert code == 1000
    assert events[-1]["type"] == "operation_completed"
    assert [event["type"] for event in events].count("operation_completed") == 1


START_THE_API = """
import asyncio, gc
from app.main import create_app

async def main():
    given, said = asyncio.Queue(), asyncio.Queue()
    served = asyncio.create_task(create_app()({"type": "lifespan", "asgi": {"version": "3.0"}}, given.get, said.put))
    await given.put({"type": "lifespan.startup"})
    print((await said.get())["type"], gc.get_freeze_count())
    await given.put({"type": "lifespan.shutdown"})
    await served

asyncio.run(main())
"""
MANY_OBJECTS = 50_000


async def test_the_api_never_looks_through_all_that_it_has_loaded(api: Api, settings: Settings) -> None:
    """Such a collection would stop everybody's searches for a fifth of a second, every few seconds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START_THE_API, env=environment_of(settings), stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()

    said, frozen = output.decode().split()
    assert said == "lifespan.startup.complete"
    assert int(frozen) > MANY_OBJECTS


@pytest.mark.timeout(240)
async def test_the_command_line_from_nothing(folder: Path, tmp_path: Path) -> None:
    """On an empty data folder: index, index again, search, list, with one JSON object on stdout each."""
    data = tmp_path / "data"

    code, out, err = await run_cli("index", str(folder), "--collection", "notes", "--json", data=data)
    again_code, again, _ = await run_cli("index", str(folder), "-c", "notes", "--json", data=data)
    (folder / "empty.txt").touch()
    bad_code, _, bad = await run_cli("index", str(folder), "-c", "notes", data=data)
    _, found, _ = await run_cli("search", "notes", "mammals in the ocean", "--json", data=data)
    _, listed, _ = await run_cli("ops", "list", "--json", data=data)
    other_code, other, _ = await run_cli("index", str(folder), "-c", "notes", "--chunk-size", "99", "--json", data=data)
    missing_code, missing, _ = await run_cli("search", "nothing", "x", "--json", data=data)

    assert code == 0, err
    assert orjson.loads(out)["state"] == "completed"
    assert set(orjson.loads(out)) == {"operation_id", "collection_id", "state", "result"}
    assert again_code == 0
    assert orjson.loads(again)["result"]["tokens"] == 0
    assert bad_code == 3
    assert "empty_document" in bad
    assert orjson.loads(found)["hits"][0]["uri"].endswith("whales.md")
    assert len(orjson.loads(listed)["operations"]) == 3
    assert other_code == 1
    assert orjson.loads(other)["error"]["code"] == "option_conflict"
    assert missing_code == 1
    assert orjson.loads(missing)["error"]["code"] == "collection_not_found"


@pytest.mark.timeout(240)
async def test_a_command_uses_the_server_that_runs_on_its_folder(folder: Path, tmp_path: Path) -> None:
    """With `vecloom up` on the folder, two commands at once both talk to it; after kill -9 the folder still works."""
    data = tmp_path / "data"
    environment = {**os.environ, "VECLOOM_DATA": str(data)}
    with (tmp_path / "up.log").open("wb") as log:
        server = subprocess.Popen([*VECLOOM, "up", "--port", "0"], env=environment, stdout=log, stderr=log)

    async def served() -> object:
        return DataFolder(data).read_server_file()

    try:
        await wait_until(served)
        both = await asyncio.gather(
            run_cli("index", str(folder), "-c", "one", "--json", data=data),
            run_cli("index", str(folder), "-c", "two", "--json", data=data),
        )
    finally:
        server.kill()
        server.wait()
    code, out, err = await run_cli("search", "two", "whales", "--json", data=data)

    assert [result[0] for result in both] == [0, 0]
    assert code == 0, err
    assert orjson.loads(out)["hits"]
