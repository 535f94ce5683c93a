"""``vecloom audit``."""

from pathlib import Path

import orjson

from tests.harness import run_cli


async def test_changes_are_listed_for_people_and_for_scripts(tmp_path: Path, folder: Path) -> None:
    """After an index, both outputs name the collection, the worker's end and the key of the embedded stack."""
    data = tmp_path / "data"
    indexed = await run_cli("index", str(folder), "--collection", "notes", data=data)

    code, shown, _ = await run_cli("audit", "notes", data=data)
    as_json, out, _ = await run_cli("audit", "--limit", "1", "--json", data=data)
    missing, _, _ = await run_cli("audit", "--limit", "0", data=data)

    assert (indexed[0], code, as_json) == (0, 0, 0)
    assert "collection.created" in shown
    assert "operation.finished (completed)" in shown
    entries = orjson.loads(out.splitlines()[-1])["entries"]
    assert [entry["action"] for entry in entries] == ["key.issued"]
    assert missing != 0
