"""Drawing a collection from the command line."""

import asyncio
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pyarrow.parquet
import pytest

from tests.cli.test_commands import started
from tests.harness import run_cli, wait_until

pytestmark = pytest.mark.timeout(300)


async def test_a_collection_is_drawn(folder: Path, tmp_path: Path) -> None:
    """Once; each command keeps the contract of exit codes and JSON, also for what is there already."""
    data, into, again_into = tmp_path / "data", tmp_path / "map", tmp_path / "again"

    async def is_up() -> bool:
        return await asyncio.to_thread((data / "server.json").exists)

    async with started("up", "--port", "0", data=data):
        await wait_until(is_up)
        await run_cli("index", str(folder), "--collection", "notes", data=data)

        first = await run_cli("project", "notes", "--method", "pca", "--out", str(into), "--json", data=data)
        again = await run_cli("project", "notes", "--method", "pca", "--out", str(again_into), "--json", data=data)
        told = await run_cli("project", "notes", "--method", "pca", "--color-by", "file_type", data=data)
        wrong = [
            await run_cli(*("project", *more, "--json"), data=data)
            for more in (
                ("nobody",),
                ("notes", "--dimensions", "4"),
                ("notes", "--param", "n_neighbors"),
                ("notes", "--param", "n_neighbors=1"),
                ("notes", "--sample", "0"),
            )
        ]
        listed = await run_cli("projections", "list", "notes", data=data)
        projection = orjson.loads(first[1])["result"]["projection_id"]
        shown = await run_cli("projections", "show", projection, data=data)
        removed = await run_cli("projections", "remove", projection, "--json", data=data)
        gone = await run_cli("projections", "show", projection, "--json", data=data)

    answers = [orjson.loads(one[1]) for one in (first, again)]
    assert [(one[0], one[1].count("\n")) for one in (first, again)] == [(0, 1), (0, 1)]
    assert set(answers[0]) == set(answers[1]) == {"operation_id", "collection_id", "state", "result"}
    assert answers[0]["state"] == answers[1]["state"] == "completed"
    assert answers[1]["result"] == {**answers[0]["result"], "reused": True}
    assert answers[1]["operation_id"] == answers[0]["operation_id"]
    assert (told[0], "completed" in told[1], "fetching" in told[2]) == (0, True, True)
    assert {one[0] for one in wrong} == {1}
    assert [orjson.loads(one[1])["error"]["code"] for one in wrong] == [
        "collection_not_found",
        "invalid_projection",
        "invalid_usage",
        "invalid_projection",
        "invalid_projection",
    ]
    assert (listed[0], listed[1].count("completed")) == (0, 2)
    assert (shown[0], "map.html" in shown[1]) == (0, True)
    assert (removed[0], orjson.loads(removed[1])) == (0, {"removed": projection})
    assert (gone[0], orjson.loads(gone[1])["error"]["code"]) == (1, "projection_not_found")
    points = await asyncio.to_thread(count_written, into)
    assert points == answers[0]["result"]["points"] == await asyncio.to_thread(count_written, again_into)


def count_written(into: Path) -> int:
    """How many points the files have; fails unless all of them can be read."""
    HTMLParser().feed((into / "map.html").read_text())
    assert (into / "map.png").read_bytes().startswith(b"\x89PNG")
    assert orjson.loads((into / "meta.json").read_bytes())["title"] == "notes"
    return int(pyarrow.parquet.read_table(into / "points.parquet").num_rows)
