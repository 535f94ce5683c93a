"""What a person types, and what they read: whole commands on a data folder of their own."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from app.embedded.folder import DataFolder
from app.stores.qdrant import QdrantStore
from benchmarks.corpus import write_corpus
from tests.harness import VECLOOM, run_cli, wait_until

DOCUMENTS = 1500

pytestmark = pytest.mark.timeout(240)


class Command:
    """A command that runs, in a process group of its own as a shell would start it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._said = ""

    async def wait_for(self, text: str) -> None:
        """Return when it has said ``text`` on stderr."""
        assert self.process.stderr is not None
        while text not in self._said:
            async with asyncio.timeout(60):
                line = await self.process.stderr.readline()
            assert line, f"ended without saying {text!r}: {self._said}"
            self._said += line.decode()

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """What a terminal does on Ctrl-C: every process of the group gets the signal."""
        os.killpg(self.process.pid, number)

    async def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, stdout, stderr."""
        async with asyncio.timeout(60):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), self._said + err.decode()


@asynccontextmanager
async def started(*arguments: str, data: Path, stdin: int | None = None) -> AsyncIterator[Command]:
    """Start a command."""
    process = await asyncio.create_subprocess_exec(
        *VECLOOM,
        *arguments,
        env={**os.environ, "VECLOOM_DATA": str(data), "VECLOOM_SHUTDOWN_GRACE": "0.2"},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def processes_on(data: Path) -> list[str]:
    """Command lines of the processes that work on a data folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:
            continue
        if command and str(data).encode() in command + environment:
            found.append(command.replace(b"\0", b" ").decode())
    return found


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder that takes seconds to index."""
    root = tmp_path / "corpus"
    write_corpus(root, DOCUMENTS, seed=11)
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "data"


async def count_documents(data: Path, name: str) -> dict[str, int]:
    """Documents of a collection by state, asked over the server that a command starts."""
    async with started("up", "--port", "0", data=data) as server:

        async def served() -> dict[str, Any] | None:
            return DataFolder(data).read_server_file()

        address = await wait_until(served)
        headers = {"Authorization": f"Bearer {address['api_key']}"}
        async with httpx.AsyncClient(base_url=address["url"], headers=headers) as client:
            answer = (await client.get(f"/api/v1/collections/{name}")).json()
        server.interrupt()
        await server.end()
    documents: dict[str, int] = answer["documents"]
    return documents


@pytest.mark.parametrize("presses", [1, 2])
async def test_ctrl_c_leaves_nothing_behind_and_the_operation_goes_on(corpus: Path, data: Path, presses: int) -> None:
    """An interrupted index says how to go on, leaves no process and no lock, and is seen through by a later command."""
    async with started("index", str(corpus), "-c", "notes", "--json", data=data) as command:
        await command.wait_for("indexing")
        command.interrupt()
        if presses == 2:
            await asyncio.sleep(0.3)
            if command.process.returncode is None:
                command.interrupt()
        code, out, said = await command.end()

    async def nobody() -> bool:
        return not processes_on(data)

    await wait_until(nobody)
    _, listed, _ = await run_cli("ops", "list", "--json", data=data)
    (operation,) = orjson.loads(listed)["operations"]
    watched, told, _ = await run_cli("ops", "watch", operation["operation_id"], "--json", data=data)

    assert code == 1
    if presses == 1:
        assert orjson.loads(out)["error"]["code"] == "interrupted"
        assert operation["operation_id"] in said
    assert operation["state"] in ("pending", "running", "completed")  # a fast machine may be done before it hears
    assert watched == 0
    assert orjson.loads(told)["state"] == "completed"
    assert await count_documents(data, "notes") == {"completed": DOCUMENTS}


async def test_a_polite_kill_is_as_good_as_ctrl_c(corpus: Path, data: Path) -> None:
    """SIGTERM stops the whole embedded stack too."""
    async with started("index", str(corpus), "-c", "notes", data=data) as command:
        await command.wait_for("indexing")
        command.process.terminate()
        code, _, said = await command.end()

    assert code == 1
    assert "interrupted" in said
    assert "Traceback" not in said
    assert processes_on(data) == []


async def test_a_command_takes_over_from_a_server_that_was_killed(corpus: Path, data: Path) -> None:
    """Kill -9 of `vecloom up` in the middle: the waiting command starts the stack itself and ends well."""
    async with started("up", "--port", "0", data=data) as server:

        async def served() -> dict[str, Any] | None:
            return DataFolder(data).read_server_file()

        await wait_until(served)
        async with started("index", str(corpus), "-c", "notes", "--json", data=data) as command:
            await command.wait_for("indexing")
            server.process.kill()
            code, out, said = await command.end()

    assert code == 0, said
    assert orjson.loads(out)["state"] == "completed"
    assert await count_documents(data, "notes") == {"completed": DOCUMENTS}


async def test_a_command_goes_on_with_a_server_that_was_started_anew(corpus: Path, data: Path) -> None:
    """Kill -9 of `vecloom up`, and one on the same port at once: it has a key of its own, which the command finds."""

    async def served() -> dict[str, Any] | None:
        return DataFolder(data).read_server_file()

    async with started("up", "--port", "0", data=data) as server:
        port = urlsplit((await wait_until(served))["url"]).port
        async with started("index", str(corpus), "-c", "notes", "--json", data=data) as command:
            await command.wait_for("indexing")
            command.process.send_signal(signal.SIGSTOP)
            server.process.kill()
            await server.process.wait()
            async with started("up", "--port", str(port), data=data):
                await wait_until(served)
                command.process.send_signal(signal.SIGCONT)
                code, out, said = await command.end()

    assert code == 0, said
    assert orjson.loads(out)["state"] == "completed"


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"VECLOOM_LEASE": "soon"}, "invalid_setting"),
        ({"VECLOOM_CHUNK_SIZE": "0"}, "invalid_setting"),
        ({"VECLOOM_DATABASE_URL": "garbage"}, "invalid_setting"),
        ({"VECLOOM_DATABASE_URL": "postgresql://u:pw@h:notaport/x"}, "invalid_setting"),
        ({"VECLOOM_REDIS_URL": "localhost:6379"}, "invalid_setting"),
        ({"VECLOOM_QDRANT_URL": "http://h:99999x"}, "invalid_setting"),
        ({"VECLOOM_URL": "http://127.0.0.1:9"}, "missing_setting"),
        ({"VECLOOM_URL": "http://127.0.0.1:9", "VECLOOM_API_KEY": "k"}, "server_unreachable"),
        ({"VECLOOM_URL": "localhost", "VECLOOM_API_KEY": "k"}, "invalid_setting"),
        ({"VECLOOM_URL": "http://[::1", "VECLOOM_API_KEY": "k"}, "invalid_setting"),
        ({"VECLOOM_URL": "http://127.0.0.1:9", "VECLOOM_API_KEY": "schlüssel"}, "invalid_setting"),
    ],
)
async def test_a_wrong_setting_is_one_clear_line(data: Path, variables: dict[str, str], code: str) -> None:
    """No traceback, exit code 1, the code on stdout as JSON and on stderr in words; nothing was started."""
    status, out, said = await run_cli("search", "notes", "whales", "--json", data=data, **variables)

    assert status == 1
    assert orjson.loads(out)["error"]["code"] == code
    assert said.count("\n") == 1
    assert not _exists(data)


async def test_a_collection_is_chunked_as_the_command_says(tmp_path: Path, data: Path) -> None:
    """A hierarchical collection shows the parent of a hit; another strategy for it, or an unknown one, is refused."""
    folder = tmp_path / "songs"
    folder.mkdir()
    (folder / "songs.md").write_text("# Songs\n\n" + "\n\n".join(f"Song {n} is about the sea." for n in range(80)))
    wanted = ("index", str(folder), "-c", "songs", "--chunk-size", "64", "--json", "--chunking")

    code, _, said = await run_cli(*wanted, "hierarchical", data=data)
    _, found, _ = await run_cli("search", "songs", "song 17", "--json", data=data)
    conflict, refused, _ = await run_cli(*wanted, "code", data=data)
    unknown, _, usage = await run_cli(*wanted, "magic", data=data)

    hit = orjson.loads(found.splitlines()[-1])["hits"][0]
    assert code == 0, said
    assert hit["headings"] == ["Songs"]
    assert hit["text"] in hit["parent"]["text"]
    assert conflict == 1
    assert orjson.loads(refused.splitlines()[-1])["error"]["code"] == "option_conflict"
    assert unknown == 1
    assert "hierarchical" in usage


async def test_a_folder_that_is_not_there_creates_nothing(tmp_path: Path, data: Path) -> None:
    """A mistyped path is an error before there is a collection, an operation or a data folder."""
    code, out, _ = await run_cli("index", str(tmp_path / "nowhere"), "-c", "notes", "--json", data=data)

    assert code == 1
    assert orjson.loads(out)["error"]["code"] == "source_not_found"
    assert not _exists(data)


async def test_a_port_that_is_taken_is_one_clear_line(data: Path) -> None:
    """`vecloom up` says which address it cannot have, stops what it started, and the folder is free again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, said = await run_cli("up", "--port", str(taken.getsockname()[1]), data=data)

    assert code == 1
    assert "address_unavailable" in said
    assert "Traceback" not in said
    assert processes_on(data) == []


def _exists(data: Path) -> bool:
    return data.exists()


async def test_another_kind_of_server_is_recognised(data: Path) -> None:
    """A web server that is no Vecloom gives a code, not a traceback."""

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b"<html>hello</html>"
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        status, out, _ = await run_cli(
            "search", "notes", "whales", "--json", data=data, VECLOOM_URL=url, VECLOOM_API_KEY="k"
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

    assert status == 1
    assert orjson.loads(out)["error"]["code"] == "unexpected_answer"


async def test_documents_cannot_speak_to_the_terminal(tmp_path: Path, data: Path) -> None:
    """Escape sequences and markup of names and texts are shown, not obeyed; failures are listed by ops show."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a [red]b.md").write_text("whales \x1b[31m sing [bold]loudly[/bold] \x07 in the sea\n")
    (folder / "two\nlines.txt").touch()

    code, _, said = await run_cli("index", str(folder), "-c", "odd", data=data)
    _, found, _ = await run_cli("search", "odd", "whales", data=data)
    _, listed, _ = await run_cli("ops", "list", "--json", data=data)
    listed_code, table, complaint = await run_cli("ops", "list", data=data)
    _, shown, _ = await run_cli("ops", "show", orjson.loads(listed)["operations"][0]["operation_id"], data=data)

    assert code == 3
    for text in (said, found, shown):
        assert not any(ord(char) < 32 and char != "\n" for char in text)
    assert "a [red]b.md" in found
    assert "[bold]loudly[/bold]" in found
    assert "empty_document" in said
    assert "empty_document" in shown
    assert listed_code == 0, complaint
    assert orjson.loads(listed)["operations"][0]["operation_id"] in table


async def test_an_operation_of_a_killed_server_can_be_cancelled(corpus: Path, data: Path) -> None:
    """`ops cancel` on a folder whose owner was killed ends the operation instead of waiting for nobody."""
    async with started("index", str(corpus), "-c", "notes", data=data) as command:
        await command.wait_for("indexing")
        command.process.kill()
        await command.end()
    _, listed, _ = await run_cli("ops", "list", "--json", data=data)
    (operation,) = orjson.loads(listed)["operations"]

    code, out, said = await run_cli("ops", "cancel", operation["operation_id"], "--json", data=data)
    again, told, _ = await run_cli("ops", "retry", operation["operation_id"], "--json", data=data)

    assert code == 0, said
    assert orjson.loads(out)["state"] == "cancelled"
    assert again == 0
    assert orjson.loads(told)["state"] == "completed"


async def test_doctor_speaks_json(data: Path) -> None:
    """One object with the contract's keys; a machine that runs these tests is well."""
    code, out, _ = await run_cli("doctor", "--json", data=data)

    report = orjson.loads(out)

    assert code == 0
    assert set(report) == {"ok", "checks"}
    assert all(set(check) == {"name", "ok", "detail", "fix"} for check in report["checks"])


async def test_verify_says_whether_both_stores_agree(tmp_path: Path, data: Path) -> None:
    """Exit code and JSON follow the contract: well, damaged, repaired, and a collection that is not there."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.md").write_text(f"# Number {number}\n\nWhales of pod {number} sing in the sea.\n")
    await run_cli("index", str(folder), "-c", "notes", data=data)

    async with started("up", "--port", "0", data=data) as server:

        async def served() -> dict[str, Any] | None:
            return DataFolder(data).read_server_file()

        address = await wait_until(served)
        well = await run_cli("verify", "notes", "--json", data=data)
        lost = await lose_points(address, 3)
        damaged = await run_cli("verify", "notes", "--json", data=data)
        told = await run_cli("verify", "notes", data=data)
        repaired = await run_cli("verify", "notes", "--repair", "--json", data=data)
        again = await run_cli("verify", "notes", data=data)
        missing = await run_cli("verify", "nowhere", "--json", data=data)
        server.interrupt()
        await server.end()

    report = orjson.loads(well[1])
    assert well[0] == 0, well
    assert {name: report[name] for name in ("ok", "compared", "missing", "extra", "wrong")} == {
        "ok": True,
        "compared": 12,
        "missing": [],
        "extra": [],
        "wrong": [],
    }
    assert report["seconds"] > 0
    assert damaged[0] == 1
    assert sorted(orjson.loads(damaged[1])["missing"]) == sorted(lost)
    assert told[0] == 1
    assert "vecloom verify notes --repair" in told[1]
    assert all(point in told[1] for point in lost)
    assert repaired[0] == 0
    assert orjson.loads(repaired[1])["repaired"] == 3
    assert again[0] == 0
    assert "compared 12 points" in again[1]
    assert missing[0] == 1
    assert orjson.loads(missing[1])["error"]["code"] == "collection_not_found"


async def lose_points(address: dict[str, Any], count: int) -> list[str]:
    """Delete some points of the only collection in the vector store behind everybody's back; their ids."""
    store = QdrantStore(address["qdrant_url"], api_key=address["qdrant_api_key"])
    try:
        (name,) = await store.list_collections()
        ids = [point async for batch in store.stream_ids(name) for point, _ in batch][:count]
        await store.delete_points(name, ids)
    finally:
        await store.aclose()
    return [str(point) for point in ids]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["index", "notes"], "invalid_usage"),
        (["search", "x", "q", "--limit", "0"], "invalid_usage"),
        (["index", "n" * 300, "-c", "x"], "source_not_found"),
        (["index", "~nosuchuser/x", "-c", "x"], "invalid_input"),
        (["index", "//[abc", "-c", "x"], "source_not_found"),
        (["index", os.fsdecode(b"/nowhere/\xff"), "-c", "x"], "source_not_found"),
        (["doctor", "--data", "n" * 300], "system_error"),
    ],
)
async def test_whatever_is_typed_a_script_gets_its_json(data: Path, arguments: list[str], code: str) -> None:
    """One object on stdout, status 1, and no traceback."""
    status, out, err = await run_cli(*arguments, "--json", data=data)

    assert status == 1
    assert orjson.loads(out)["error"]["code"] == code
    assert "Traceback" not in err
