"""``vecloom sync`` as a person and a script use it."""

import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from app.cli import sync as syncs
from app.embedded.folder import DataFolder
from tests.cli.test_commands import started
from tests.harness import run_cli, wait_until

pytestmark = pytest.mark.timeout(240)

RUN: dict[str, Any] = {
    "state": "completed",
    "trigger": "schedule",
    "started_at": "2026-03-01T09:45:00.123Z",
    "sources": [
        {"url": "a", "state": "completed", "result": {"documents_added": 1}, "error_code": None, "error_message": None},
        {"url": "b", "state": "completed", "result": None, "error_code": None, "error_message": None},
    ],
}


async def test_a_collection_is_synced_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    """Set, look, pause, resume, run now, look back, end: each says how it stands, as text and as JSON."""
    data = tmp_path / "data"
    async with started("up", "--port", "0", data=data) as server:

        async def served() -> dict[str, Any] | None:
            return DataFolder(data).read_server_file()

        await wait_until(served)

        async def sync(*arguments: str) -> tuple[int, Any]:
            code, out, _ = await run_cli("sync", "notes", *arguments, "--json", data=data)
            lines = out.splitlines()
            assert len(lines) == 1, out
            return code, orjson.loads(lines[0])

        unknown = await sync()
        await run_cli("index", str(folder), "-c", "notes", data=data)
        before = await run_cli("sync", "notes", data=data)
        unset = await sync("--pause")
        no_interval = await sync("--mode", "incremental")
        given = await sync("--every", "1h30m")
        shown = await run_cli("sync", "notes", data=data)
        paused = await sync("--pause")
        changed = await sync("--mode", "incremental", "--on-gone", "keep", "--resume")
        (folder / "empty.txt").touch()
        ran = await sync("--now")
        history = await run_cli("sync", "notes", "--history", data=data)
        off = await sync("--off")
        server.interrupt()
        await server.end()

    assert (unknown[0], unknown[1]["error"]["code"]) == (1, "collection_not_found")
    assert "no continuous sync; begin with: vecloom sync notes --every 15m" in before[1]
    assert (unset[0], unset[1]["error"]["code"]) == (1, "sync_not_set")
    assert no_interval[1]["error"]["code"] == "sync_not_set"
    assert (given[0], given[1]["interval_seconds"], given[1]["mode"]) == (0, 5400, "full")
    assert "notes: every 1h30m, next 20" in shown[1]
    assert paused[1]["paused_at"]
    assert (changed[1]["interval_seconds"], changed[1]["mode"], changed[1]["paused_at"]) == (5400, "incremental", None)
    assert changed[1]["sources"][0]["on_gone"] == "keep"
    assert (ran[0], ran[1]["state"], ran[1]["trigger"]) == (3, "completed", "manual")
    assert ran[1]["sources"][0]["result"]["documents_failed"] == 1
    assert "completed (manual)" in history[1]
    assert (off[1]["interval_seconds"], off[1]["last_run"]["sync_run_id"]) == (None, ran[1]["sync_run_id"])


async def test_removals_are_confirmed_from_the_command_line(tmp_path: Path) -> None:
    """Without a server too: the guard's own words lead to the command that removes what is gone."""
    root, data = tmp_path / "many", tmp_path / "data"
    root.mkdir()
    for number in range(30):
        (root / f"{number}.txt").write_text(f"Entry {number} of the long list of comets.")
    await run_cli("index", str(root), "-c", "many", data=data)
    for number in range(25):
        (root / f"{number}.txt").unlink()

    refused, _, said = await run_cli("index", str(root), "-c", "many", data=data)
    code, out, _ = await run_cli("sync", "many", "--confirm-removals", "--json", data=data)
    (root / "29.txt").write_text("Another comet.")
    for number in range(25, 29):
        (root / f"{number}.txt").unlink()
    again, _, _ = await run_cli("index", str(root), "-c", "many", "--confirm-removals", data=data)

    assert (refused, "vecloom sync many --confirm-removals" in said.replace("\n", " ")) == (1, True)
    assert (code, orjson.loads(out)["sources"][0]["result"]["documents_removed"]) == (0, 25)
    assert again == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--every", "15"), "invalid_duration"),
        (("--every", "30s"), "invalid_duration"),
        (("--pause", "--resume"), "invalid_usage"),
        (("--off", "--every", "1h"), "invalid_usage"),
        (("--history", "--now"), "invalid_usage"),
        (("--history", "--mode", "full"), "invalid_usage"),
        (("--mode", "sometimes"), "invalid_usage"),
    ],
)
async def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], code: str, tmp_path: Path) -> None:
    """Before anything is started."""
    status, out, _ = await run_cli("sync", "notes", *arguments, "--json", data=tmp_path / "data")

    assert (status, orjson.loads(out)["error"]["code"]) == (1, code)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, 0),
        ({"sources": [{"result": {"documents_failed": 2}}]}, 3),
        ({"state": "failed"}, 1),
        ({"state": "cancelled"}, 1),
    ],
)
def test_exit_codes_are_those_of_the_contract(change: dict[str, Any], code: int) -> None:
    """0 only if all is well."""
    assert syncs.exit_code_of({**RUN, **change}) == code


def test_a_failing_source_is_shown_with_its_reason_and_its_next_try() -> None:
    """Names from files cannot change what a terminal shows."""
    told = io.StringIO()
    source = {
        "url": "file:///srv/[red]x",
        "on_gone": "mark",
        "failures": 3,
        "error_code": "source_not_found",
        "error_message": "nothing readable",
        "next_try": "2026-03-01T10:00:00Z",
    }
    status = {
        "collection": "notes",
        "interval_seconds": 900,
        "mode": "full",
        "paused_at": None,
        "next_due": "2026-03-01T09:50:00Z",
        "why_waiting": "behind operation x",
        "running": None,
        "last_run": RUN,
        "sources": [source],
    }

    syncs.show_sync(status, Console(file=told, width=40))
    lines = told.getvalue().splitlines()

    assert lines[0] == "notes: every 15m, next 2026-03-01 09:50:00Z (behind operation x)"
    assert lines[1] == (
        "  file:///srv/[red]x (gone documents: mark): failed 3 times, source_not_found,"
        " next try not before 2026-03-01 10:00:00Z: nothing readable"
    )
    assert lines[2] == "last run: 2026-03-01 09:45:00Z completed (schedule): 1 added"


async def test_a_source_is_told_what_becomes_of_gone_documents(folder: Path, tmp_path: Path) -> None:
    """Said when it is first indexed, it holds; another wish for the same source is a conflict, not a change."""
    data = tmp_path / "data"
    first, _, _ = await run_cli("index", str(folder), "-c", "notes", "--on-gone", "mark", data=data)
    (folder / "bread.html").unlink()
    second, _, said = await run_cli("index", str(folder), "-c", "notes", data=data)
    third, out, _ = await run_cli("index", str(folder), "-c", "notes", "--on-gone", "keep", "--json", data=data)

    assert (first, second, third) == (0, 0, 1)
    assert "1 gone but kept" in said
    assert orjson.loads(out)["error"]["code"] == "option_conflict"
