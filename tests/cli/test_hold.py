"""Pausing and going on, from the command line."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from app.cli import commands
from app.settings import Settings
from benchmarks.corpus import write_corpus
from tests.cli.test_commands import started
from tests.harness import run_cli

pytestmark = pytest.mark.timeout(240)


async def test_an_operation_and_its_collection_are_paused_and_go_on(tmp_path: Path) -> None:
    """Commands beside a running ``index`` hold it up and let it go on; it ends well and says so."""
    root, data = tmp_path / "corpus", tmp_path / "data"
    write_corpus(root, 1500)
    async with started("index", str(root), "--collection", "papers", "--json", data=data) as index:
        await index.wait_for("indexing")
        operation = orjson.loads((await run_cli("ops", "list", "--json", data=data))[1])["operations"][0]
        identity = operation["operation_id"]

        paused = await run_cli("ops", "pause", identity, data=data)
        listed = orjson.loads((await run_cli("ops", "list", "--json", data=data))[1])["operations"][0]
        collection = await run_cli("pause", "papers", "--json", data=data)
        resumed = await run_cli("ops", "resume", identity, data=data)
        released = await run_cli("resume", "papers", data=data)
        code, out, _ = await index.end()

    ended = orjson.loads(out)
    assert paused[0] == 0
    assert "pending: paused since 20" in paused[1]
    assert listed["why_waiting"].startswith("paused since 20")
    assert orjson.loads(collection[1])["paused_at"]
    assert "its collection is paused" in resumed[1]
    assert "not paused" in released[1]
    assert code == 0
    assert (ended["state"], ended["result"]["documents"]) == ("completed", 1500)


class Answers:
    """A client that is told one state after another."""

    def __init__(self, *states: str) -> None:
        self.left = list(states)

    async def call(self, *_: str) -> dict[str, Any]:
        """The next one."""
        return {"operation_id": "x", "state": self.left.pop(0), "why_waiting": None}


@pytest.mark.parametrize("last", ["pending", "completed", "failed", "cancelled"])
async def test_a_pause_waits_without_hurry_until_it_is_decided(last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks twice a second, no more once the operation runs no longer, and says if that was its end."""
    client, slept = Answers("running", "running", last, "asked too often"), []

    @asynccontextmanager
    async def opened(_: Settings) -> AsyncIterator[Answers]:
        yield client

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(commands, "open_client", opened)
    monkeypatch.setattr("app.cli.commands.asyncio.sleep", sleep)
    told = io.StringIO()
    held = await commands.hold_operation(Settings(), "pause", "x")
    commands.show_held(held, Console(file=told))

    assert held["state"] == last
    assert slept == [0.5, 0.5]
    assert client.left == ["asked too often"]
    assert ("it ended before it could be paused" in told.getvalue()) == (last != "pending")
