"""Rebuilding a collection and going back from the command line."""

import asyncio
from pathlib import Path

import orjson
import pytest

from tests.cli.test_commands import started
from tests.harness import run_cli, wait_until

pytestmark = pytest.mark.timeout(240)


async def test_a_collection_is_rebuilt_and_goes_back(folder: Path, tmp_path: Path) -> None:
    """A plan, a rebuild with the gate's report, the way back; each keeps the contract of exit codes and JSON."""
    data = tmp_path / "data"

    async def is_up() -> bool:
        return await asyncio.to_thread((data / "server.json").exists)

    async with started("up", "--port", "0", data=data):
        await wait_until(is_up)
        await run_cli("index", str(folder), "--collection", "notes", data=data)

        early = await run_cli("rollback", "notes", "--json", data=data)
        planned = await run_cli("reindex", "notes", "--chunk-size", "64", "--dry-run", "--json", data=data)
        told = await run_cli("reindex", "notes", "--chunk-size", "64", "--dry-run", data=data)
        rebuilt = await run_cli("reindex", "notes", "--chunk-size", "64", "--json", data=data)
        (folder / "guides" / "whales.md").unlink()
        shown = await run_cli("ops", "show", orjson.loads(rebuilt[1])["operation_id"], data=data)
        problems = await run_cli("reindex", "notes", "--extract", data=data)
        wrong = await run_cli("reindex", "notes", "--gate", '{"base": ', "--json", data=data)
        lenient = await run_cli("reindex", "notes", "--gate", "lenient", "--json", data=data)
        unknown = await run_cli("reindex", "notes", "--model", "nobody", "--json", data=data)
        index = await run_cli("reindex", "notes", "--index", '{"hnsw_m": 24}', data=data)
        back = await run_cli("rollback", "notes", "--json", data=data)
        forward = await run_cli("rollback", "notes", data=data)
        found = await run_cli("search", "notes", "rockets", "--json", data=data)

    assert (early[0], orjson.loads(early[1])["error"]["code"]) == (1, "nothing_to_roll_back")
    plan = orjson.loads(planned[1])
    assert (planned[0], plan["state"]) == (0, "completed")
    assert (plan["result"]["level"], plan["result"]["documents"]) == ("text", 3)
    assert (told[0], "chunk size 400 → 64" in told[1], "nothing was changed" in told[1]) == (0, True, True)
    result = orjson.loads(rebuilt[1])["result"]
    assert (rebuilt[0], rebuilt[1].count("\n")) == (0, 1)
    assert (result["documents"], result["chunk_size"], result["validation"]["passed"]) == (3, 64, True)
    assert "validated: passed" in rebuilt[2]
    assert (shown[0], "index_health" in shown[1]) == (0, True)
    assert f"switched: to {result['to']}" in rebuilt[2]
    assert problems[0] == 3
    assert "file_vanished" in problems[2]
    assert "completed with errors" in problems[1]
    assert "completeness" in problems[1]
    assert [orjson.loads(one[1])["error"]["code"] for one in (wrong, lenient, unknown)] == [
        "invalid_gate_policy",
        "invalid_gate_policy",
        "unknown_model",
    ]
    assert {one[0] for one in (wrong, lenient, unknown)} == {1}
    assert (back[0], orjson.loads(back[1])["state"], orjson.loads(back[1])["result"]["to"]) == (
        0,
        "completed",
        result["to"],
    )
    assert (index[0], "in place" in index[1], 'index: {"hnsw_m":24}' in index[1]) == (0, True, True)
    assert "rollback" not in index[1]
    assert (forward[0], "serves again" in forward[1]) == (0, True)
    assert orjson.loads(found[1])["hits"]
