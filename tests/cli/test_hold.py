"""Pausing and going on, from the command line."""

from pathlib import Path

import orjson
import pytest

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
