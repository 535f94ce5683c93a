"""``vecloom search-log`` as a person and a script use it."""

import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from app.cli.search_log import show_search_log
from tests.harness import run_cli

pytestmark = pytest.mark.timeout(240)

STATUS: dict[str, Any] = {
    "collection": "notes\x1b[31m",
    "enabled": True,
    "share": 0.1,
    "keep_days": 30,
    "full_today": True,
    "entries": 512,
    "queries": 204,
    "callers": 3,
    "newest": "2026-03-07T16:02:11Z",
}


def shown(status: dict[str, Any]) -> str:
    """What a person sees."""
    console = Console(file=io.StringIO(), width=40)
    show_search_log(status, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_person_sees_how_it_stands() -> None:
    """Share, days and counts; no control character of a name gets through."""
    lines = shown(STATUS).splitlines()

    assert len(lines) == 2
    assert "\x1b" not in lines[0]
    assert lines[0].endswith("0.1 of all searches, kept for 30 days; full until tomorrow")
    assert lines[1] == "512 searches, 204 different queries of 3 users, the newest of 2026-03-07 16:02"


def test_a_log_that_is_off_says_how_to_begin() -> None:
    """As one line that can be copied."""
    assert shown({**STATUS, "collection": "notes", "enabled": False}).endswith("vecloom search-log notes --on\n")


async def test_searches_of_commands_are_written_down(folder: Path, tmp_path: Path) -> None:
    """A search in a process of its own writes what it has before that ends; what is not said stays as it is."""
    data = tmp_path / "data"

    async def search_log(*arguments: str) -> tuple[int, dict[str, Any]]:
        code, out, _ = await run_cli("search-log", "notes", *arguments, "--json", data=data)
        lines = out.splitlines()
        assert len(lines) == 1, out
        status: dict[str, Any] = orjson.loads(lines[0])
        return code, status

    unknown = await search_log()
    indexed, _, _ = await run_cli("index", str(folder), "-c", "notes", data=data)
    contradiction = [await search_log("--on", "--off"), await search_log("--days", "3")]
    begun = await search_log("--on", "--days", "7")
    searched, _, _ = await run_cli("search", "notes", "whales", data=data)
    changed = await search_log("--on", "--share", "0.5")
    ended = await search_log("--off")

    assert (unknown[0], unknown[1]["error"]["code"]) == (1, "collection_not_found")
    assert (indexed, searched) == (0, 0)
    assert [(code, status["error"]["code"]) for code, status in contradiction] == [(1, "invalid_usage")] * 2
    assert (begun[0], begun[1]["share"], begun[1]["keep_days"], begun[1]["entries"]) == (0, 1.0, 7, 0)
    assert (changed[0], changed[1]["share"], changed[1]["keep_days"]) == (0, 0.5, 7)
    assert (changed[1]["entries"], changed[1]["queries"], changed[1]["callers"]) == (1, 1, 1)
    assert (ended[0], ended[1]["enabled"], ended[1]["entries"]) == (0, False, 0)
