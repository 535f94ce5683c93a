"""``vecloom index --watch``: a folder that people work in."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.cli.watch import update_line
from app.embedded.folder import DataFolder
from tests.cli.test_commands import Command, processes_on, started
from tests.harness import VECLOOM, run_cli, wait_until

pytestmark = pytest.mark.timeout(240)

WATCHING = "watching for changes"
BURST = 1000


@asynccontextmanager
async def watching(root: Path, data: Path, *more: str, **variables: str) -> AsyncIterator[Command]:
    """A watch that has indexed the folder once."""
    process = await asyncio.create_subprocess_exec(
        *VECLOOM,
        *("index", str(root), "-c", "notes", "--watch", "--json", *more),
        env={**os.environ, "VECLOOM_DATA": str(data), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    command = Command(process)
    try:
        await command.wait_for(WATCHING)
        yield command
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def end(command: Command) -> tuple[int, dict[str, Any], str]:
    """Ctrl-C: exit code, the JSON object, and what was said."""
    command.interrupt()
    code, out, said = await command.end()
    lines = out.splitlines()
    assert len(lines) == 1, out
    return code, orjson.loads(lines[0]), said


async def listed(data: Path) -> list[dict[str, Any]]:
    """Operations of a data folder."""
    operations: list[dict[str, Any]] = orjson.loads((await run_cli("ops", "list", "--json", data=data))[1])[
        "operations"
    ]
    return operations


async def find(data: Path, query: str) -> list[str]:
    """Names of the files that a search finds."""
    _, out, _ = await run_cli("search", "notes", query, "--mode", "bm25", "--json", data=data)
    return [hit["uri"].rpartition("/")[2] for hit in orjson.loads(out)["hits"]]


async def test_changes_come_in_as_they_happen(folder: Path, tmp_path: Path) -> None:
    """New, changed, renamed and deleted files; a line for each update, one object at the end, exit code 0."""
    data = tmp_path / "data"
    async with watching(folder, data) as command:
        await asyncio.to_thread((folder / "tea.txt").write_text, "Green tea is steeped at eighty degrees.")
        await command.wait_for("updated: 1 added")
        found = await find(data, "steeped")

        await asyncio.to_thread((folder / "tea.txt").write_text, "Black coffee is brewed, not boiled.")
        await command.wait_for("updated: 1 changed")
        changed = await find(data, "brewed"), await find(data, "steeped")

        await asyncio.to_thread((folder / "tea.txt").rename, folder / "guides" / "coffee.txt")
        await command.wait_for("updated: 1 added, 1 removed")
        renamed = await find(data, "brewed")

        await asyncio.to_thread((folder / "guides" / "coffee.txt").unlink)
        await command.wait_for("updated: 1 removed")
        code, ended, said = await end(command)

    assert (found, changed, renamed) == (["tea.txt"], (["tea.txt"], []), ["coffee.txt"])
    assert (code, ended["state"], ended["updates"]) == (0, "completed", 5)
    assert ended["result"]["documents_removed"] == 1
    assert "Traceback" not in said
    assert processes_on(data) == []


async def test_a_burst_makes_few_operations(folder: Path, tmp_path: Path) -> None:
    """A thousand changes are not a thousand operations, and none of them is missed; deleting them is guarded."""
    data = tmp_path / "data"

    def write(first: int) -> None:
        for number in range(first, first + BURST // 4):
            (folder / f"{number}.txt").write_text(f"Entry {number} of a long list.")

    def delete() -> None:
        for path in folder.glob("*.txt"):
            path.unlink()

    async with watching(folder, data) as command:
        for first in range(0, BURST, BURST // 4):
            await asyncio.to_thread(write, first)
            await asyncio.sleep(0.5)

        async def all_in() -> bool:
            results = [operation["progress"] for operation in await listed(data)]
            return bool(results) and len(await find(data, f"{BURST - 1}")) == 1

        await wait_until(all_in)
        operations = await listed(data)
        await asyncio.to_thread(delete)
        await command.wait_for("mass_deletion_guard")
        code, ended, _ = await end(command)

    assert len(operations) <= 10
    assert (code, ended["state"], ended["error"]["code"]) == (1, "failed", "mass_deletion_guard")


async def test_a_folder_that_goes_away_takes_nothing_along(folder: Path, tmp_path: Path) -> None:
    """Its documents stay searchable; when it is back its changes come in; Ctrl-C ends well in either case."""
    data, away = tmp_path / "data", tmp_path / "away"
    async with watching(folder, data) as command:
        await asyncio.to_thread(shutil.move, folder, away)
        await command.wait_for("the folder is gone")
        kept = await find(data, "mammals")
        await asyncio.to_thread((away / "tea.txt").write_text, "Green tea is steeped at eighty degrees.")
        await asyncio.to_thread(shutil.move, away, folder)
        await command.wait_for("updated: 1 added")
        await asyncio.to_thread(shutil.move, folder, away)
        await command.wait_for("the folder is gone")
        code, ended, _ = await end(command)

    assert kept == ["whales.md"]
    assert (code, ended["state"]) == (0, "completed")


async def test_a_deleted_folder_is_no_end(folder: Path, tmp_path: Path) -> None:
    """Deleted file by file and made again, it is followed on."""
    data = tmp_path / "data"
    async with watching(folder, data) as command:
        await asyncio.to_thread(shutil.rmtree, folder)
        await command.wait_for("the folder is gone")
        await asyncio.to_thread(folder.mkdir)
        await asyncio.to_thread((folder / "tea.txt").write_text, "Green tea is steeped at eighty degrees.")
        await command.wait_for("1 added")
        code, ended, _ = await end(command)

    assert (code, ended["state"], ended["result"]["documents"]) == (0, "completed", 1)


async def test_a_running_server_does_the_work(folder: Path, tmp_path: Path) -> None:
    """The watch only looks; the server whose address it was given indexes. A wrong address ends it at once."""
    data = tmp_path / "data"
    async with started("up", "--port", "0", data=data) as server:

        async def served() -> dict[str, Any] | None:
            return DataFolder(data).read_server_file()

        address = await wait_until(served)
        variables = {"VECLOOM_URL": address["url"], "VECLOOM_API_KEY": address["api_key"]}
        async with watching(folder, tmp_path / "unused", **variables) as command:
            await asyncio.to_thread((folder / "tea.txt").write_text, "Green tea is steeped at eighty degrees.")
            await command.wait_for("updated: 1 added")
            code, ended, _ = await end(command)
        server.interrupt()
        await server.end()
    nobody = await run_cli(
        "index", str(folder), "-c", "notes", "--watch", "--json", data=tmp_path / "unused", **variables
    )

    assert (code, ended["state"]) == (0, "completed")
    assert (nobody[0], orjson.loads(nobody[1])["error"]["code"]) == (1, "server_unreachable")
    assert not (tmp_path / "unused").exists()


async def test_a_watch_outlives_its_server(folder: Path, tmp_path: Path) -> None:
    """Kill -9 of `vecloom up` below a watch: it starts what it needs itself, and misses nothing."""
    data = tmp_path / "data"
    async with started("up", "--port", "0", data=data) as server:

        async def served() -> dict[str, Any] | None:
            return DataFolder(data).read_server_file()

        await wait_until(served)
        async with watching(folder, data) as command:
            server.process.kill()
            await server.process.wait()
            await asyncio.to_thread((folder / "tea.txt").write_text, "Green tea is steeped at eighty degrees.")
            await command.wait_for("updated: 1 added")
            code, ended, said = await end(command)

    assert (code, ended["state"]) == (0, "completed")
    assert "trying again" in said
    assert processes_on(data) == []


async def test_gitignore_files_are_followed(folder: Path, tmp_path: Path) -> None:
    """What they leave out causes nothing, and what they say now is so at once."""
    data = tmp_path / "data"
    (folder / ".gitignore").write_text("*.log\n")
    async with watching(folder, data, "--option", "gitignore=true") as command:
        await asyncio.to_thread((folder / "x.log").write_text, "Chatter of a machine.")
        await asyncio.sleep(1.5)  # longer than a change is held back
        await asyncio.to_thread((folder / ".gitignore").write_text, "/bread.html\n")
        await command.wait_for("updated: 1 added, 1 removed")
        ended = (await end(command))[1]

    # the one that found nothing new would be a third
    assert ended["updates"] == 2
    assert await find(data, "chatter") == ["x.log"]


async def test_a_polite_kill_ends_a_watch_as_ctrl_c_does(folder: Path, tmp_path: Path) -> None:
    """SIGTERM too gives the last operation and exit code 0."""
    async with watching(folder, tmp_path / "data") as command:
        command.process.send_signal(signal.SIGTERM)
        code, out, _ = await command.end()

    assert (code, orjson.loads(out)["state"]) == (0, "completed")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("/no/such/folder", "--watch"), "source_not_found"),
        (("s3://bucket/folder", "--watch"), "watch_not_local"),
        ((".", "--watch", "--dry-run"), "invalid_usage"),
    ],
)
async def test_what_cannot_be_watched_is_said(arguments: tuple[str, ...], code: str, tmp_path: Path) -> None:
    """Before anything is started or created."""
    status, out, _ = await run_cli("index", *arguments, "-c", "notes", "--json", data=tmp_path / "data")

    assert (status, orjson.loads(out)["error"]["code"]) == (1, code)
    assert not (tmp_path / "data").exists()


def test_a_line_says_what_an_update_changed() -> None:
    """Nothing is said of an update that changed nothing; failures are named."""
    counts = {"documents_added": 1, "documents_changed": 0, "documents_removed": 2, "documents_failed": 3}
    none = dict.fromkeys(counts, 0)

    said = update_line({"state": "completed", "result": {**counts, "seconds": 0.42}})
    silent = update_line({"state": "completed", "result": {**none, "seconds": 0.1}})
    failed = update_line({"state": "failed", "error_code": "disk_full", "error_message": "[no] room"})

    assert said == "[green]updated[/green]: 1 added, 2 removed, 3 failed (0.4 s)"
    assert silent == ""
    assert failed == "[red]failed[/red] disk_full: \\[no] room"
