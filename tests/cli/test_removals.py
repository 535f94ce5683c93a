"""Removing sources, retrying documents and deleting collections from the command line."""

import asyncio
import os
import pty
from pathlib import Path

import orjson
import pytest

from tests.cli.test_commands import started
from tests.harness import run_cli, wait_until

pytestmark = pytest.mark.timeout(240)


async def test_sources_documents_and_collections_go(folder: Path, tmp_path: Path) -> None:
    """Each command waits, says what it did, and keeps the contract of exit codes and JSON."""
    data, inner = tmp_path / "data", folder / "guides"

    async def is_up() -> bool:
        return await asyncio.to_thread((data / "server.json").exists)

    async with started("up", "--port", "0", data=data):
        await wait_until(is_up)
        await run_cli("index", str(folder), "--collection", "notes", data=data)
        await run_cli("index", str(inner), "--collection", "notes", data=data)

        unknown = await run_cli("remove-source", "notes", "/nowhere", "--json", data=data)
        removed = await run_cli("remove-source", "notes", str(folder), "--json", data=data)
        retried = await run_cli("retry-documents", "notes", data=data)
        refused = await run_cli("delete", "notes", "--json", data=data)
        deleted = await run_cli("delete", "notes", "--yes", "--json", data=data)
        again = await run_cli("delete", "notes", "--yes", "--json", data=data)
        listed = await run_cli("ops", "list", data=data)
        operation = orjson.loads(removed[1])["operation_id"]
        shown = await run_cli("ops", "show", operation, data=data)

    error = orjson.loads(unknown[1])["error"]
    assert (unknown[0], error["code"]) == (1, "source_unknown")
    assert folder.as_uri() in error["detail"]
    assert inner.as_uri() in error["detail"]
    result = orjson.loads(removed[1])["result"]
    assert removed[0] == 0
    assert (result["documents_removed"], result["documents_kept"]) == (1, 2)
    assert (retried[0], "0 documents tried again" in retried[1]) == (0, True)
    assert (refused[0], orjson.loads(refused[1])["error"]["code"]) == (1, "not_confirmed")
    assert deleted[0] == 0
    assert orjson.loads(deleted[1])["state"] == "completed"
    assert orjson.loads(deleted[1])["result"]["documents"] == 2
    assert orjson.loads(deleted[1])["collection_id"] == orjson.loads(removed[1])["collection_id"]
    assert (again[0], orjson.loads(again[1])["error"]["code"]) == (1, "collection_not_found")
    assert "DELETE" in listed[1]
    assert "notes" in listed[1]
    assert (shown[0], "REMOVE_SOURCE" in shown[1]) == (0, True)


@pytest.mark.parametrize(("said", "code"), [("n\n", "not_confirmed"), ("y\n", "collection_not_found")])
async def test_deleting_asks_on_a_terminal(said: str, code: str, tmp_path: Path) -> None:
    """Only a yes goes on; here to find that there is no such collection."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, said.encode())
        async with started("delete", "notes", "--json", data=tmp_path / "data", stdin=theirs) as asking:
            status, out, _ = await asking.end()
    finally:
        os.close(ours)
        os.close(theirs)

    assert (status, orjson.loads(out.splitlines()[-1])["error"]["code"]) == (1, code)
