"""``vecloom compare`` and ``vecloom generations``: JSON for a script, tables for a person."""

import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console
from sqlalchemy import text

from app.bootstrap import configured_endpoints, open_parts
from app.cli.compare import exit_code_of, show_comparison
from app.cli.generations import show_generations
from app.db.collections import CollectionRepository
from app.domain.collections import GenerationState
from app.domain.documents import Chunking
from app.embedded.stack import EmbeddedStack
from app.processes.pool import ProcessPool
from app.settings import Settings
from tests.harness import run_cli
from tests.reindex.generations import Shelf

GENERATION: dict[str, Any] = {
    "name": "vecloom_1",
    "state": "active",
    "is_complete": True,
    "model": "wordllama",
    "dimension": 256,
    "chunking": {"strategy": "recursive", "size": 400, "overlap": 40},
    "error": None,
}
PLACE = {"text": "Ask for leave", "highlights": [[8, 13]]}


def row(path: str, change: str | None, old: int | None, new: int | None) -> dict[str, Any]:
    """A document of an answer."""
    places = [None if rank is None else {"rank": rank, **PLACE} for rank in (old, new)]
    return {"path": path, "change": change, "old": places[0], "new": places[1]}


def answer(*hits: dict[str, Any], overlap: float | None = 0.5, **sides: dict[str, Any]) -> dict[str, Any]:
    """An answer to one query."""
    scores = {"overlap": overlap, "rank_biased_overlap": overlap}
    old = {**GENERATION, "name": "vecloom_0", "state": "retired"}
    return {
        "old": {**old, **sides.get("old", {})},
        "new": {**GENERATION, **sides.get("new", {})},
        **scores,
        "queries": [{"query": "leave [b]", **scores, "hits": list(hits)}],
    }


def shown(value: dict[str, Any], *, colours: bool = False, generations: bool = False) -> str:
    """What a person sees."""
    console = Console(file=io.StringIO(), force_terminal=colours, width=100)
    show = show_generations if generations else show_comparison
    show(value, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_comparison_is_a_table_for_each_query() -> None:
    """New rank, old rank, an arrow, the document and the best part of it; scores stand beside the query."""
    value = answer(
        row("up.md", "up", 3, 1),
        row("same.md", "same", 2, 2),
        row("down\x1b[31m.md", "down", 1, 3),
        row("new.md", "new", None, 4),
        row("lost.md", "lost", 4, None),
    )

    lines = [line.split() for line in shown(value).splitlines()]

    assert lines[0] == ["old:", "vecloom_0", "retired,", "wordllama", "(256),", "recursive", "400/40"]
    assert lines[1][:3] == ["new:", "vecloom_1", "active,"]
    assert lines[3] == ["leave", "[b]", "overlap", "0.50,", "rank-biased", "0.50"]
    assert lines[4] == ["new", "old", "document", "text"]
    assert lines[5] == ["1", "3", "↑2", "up.md", "Ask", "for", "leave"]
    assert lines[6][:4] == ["2", "2", "=", "same.md"]
    assert lines[7][:4] == ["3", "1", "↓2", "down�[31m.md"]
    assert lines[8][:4] == ["4", "-", "new", "new.md"]
    assert lines[9][:4] == ["-", "4", "lost", "lost.md"]
    assert exit_code_of(value) == 0
    assert "\x1b[" in shown(value, colours=True)


def test_a_side_with_an_error_says_so() -> None:
    """No arrow and no score, for there is nothing to compare with; a script sees it by the exit code."""
    error = {"code": "embedder_unavailable", "detail": "no answer [red]\x1b"}
    value = answer(row("a.md", None, None, 1), overlap=None, old={"error": error}, new={"is_complete": False})

    said = shown(value)

    assert "  embedder_unavailable: no answer [red]�" in said
    assert "vecloom_1  active, not complete" in said
    assert "overlap" not in said
    assert ["1", "-", "a.md", "Ask", "for", "leave"] in [line.split() for line in said.splitlines()]
    assert exit_code_of(value) == 3


@pytest.mark.parametrize("count", [1, 2])
def test_several_queries_have_a_mean(count: int) -> None:
    """One has not; a query that finds nothing says so."""
    value = answer()
    value["queries"] *= count

    said = shown(value)

    assert said.count("nothing found") == count
    assert ("all 2 queries  overlap 0.50, rank-biased 0.50" in said) == (count == 2)


def test_generations_are_a_table() -> None:
    """When they were made, what they hold and until when they are kept; before the first one there is none."""
    times = {"points": 7, "created_at": "2026-03-01T09:30:07Z"}
    value = {
        "generations": [
            {**GENERATION, **times, "drop_after": None},
            {**GENERATION, **times, "name": "v\x1b", "state": "retired", "drop_after": "2026-03-02T09:30:07Z"},
        ]
    }

    lines = [line.split() for line in shown(value, generations=True).splitlines()]

    made = ["wordllama", "(256)", "recursive", "400/40", "7", "2026-03-01", "09:30"]
    assert lines[1] == ["vecloom_1", "active", *made, "-"]
    assert lines[2] == ["v�", "retired", *made, "2026-03-02", "09:30"]
    assert "no generation yet" in shown({"generations": []}, generations=True)


async def _add_generation(data: Path) -> None:
    """A retired generation with smaller chunks, in a data folder that nobody serves."""
    async with EmbeddedStack(data) as stack:
        settings = Settings(
            data=data,
            database_url=stack.database_url,
            redis_url=stack.redis_url,
            qdrant_url=stack.qdrant_url,
            qdrant_api_key=stack.qdrant_api_key,
        )
        async with open_parts(settings, configured_endpoints(settings)) as parts:
            async with parts.database.begin() as connection:
                collection_id = await connection.scalar(text("SELECT id FROM collections"))
                user_id = await connection.scalar(text("SELECT user_id FROM collections"))
                repository = CollectionRepository(connection)
                collection = await repository.get(user_id, collection_id)
                generation = await repository.find_generation(collection_id, GenerationState.ACTIVE)
            assert generation is not None
            processes = ProcessPool(1, memory_bytes=settings.process_memory_bytes)
            shelf = Shelf(parts=parts, processes=processes, collection=collection, generation=generation)
            second = await shelf.rebuild(chunking=Chunking(size=20, overlap=0))
            async with parts.database.begin() as connection:
                statement = "UPDATE generations SET state = 'retired', retired_at = now() WHERE id = :id"
                await connection.execute(text(statement), {"id": second.id})


async def test_two_generations_of_a_data_folder(tmp_path: Path, folder: Path) -> None:
    """Nothing to compare at first, with a reason; then both are asked, and each command needs no running server."""
    data = tmp_path / "data"
    query = ("--query", "whales in the ocean", "-q", "dough")
    indexed, _, err = await run_cli("index", str(folder), "--collection", "notes", "--json", data=data)
    assert indexed == 0, err
    refused, reason, _ = await run_cli("compare", "notes", *query, "--json", data=data)
    await _add_generation(data)
    status, out, err = await run_cli("compare", "notes", *query, "--limit", "2", "--json", data=data)
    listed, generations, _ = await run_cli("generations", "notes", "--json", data=data)
    _, table, _ = await run_cli("compare", "notes", *query, "--mode", "bm25", data=data)
    unknown, told, _ = await run_cli("compare", "notes", *query, "--generation", "x", "--json", data=data)
    unasked, usage, _ = await run_cli("compare", "notes", "--json", data=data)

    problem = orjson.loads(reason)["error"]
    assert (refused, problem["code"]) == (1, "nothing_to_compare")
    assert "is kept for 1d" in problem["detail"]
    assert status == 0, err
    found = orjson.loads(out)
    assert [asked["query"] for asked in found["queries"]] == ["whales in the ocean", "dough"]
    assert (found["old"]["state"], found["new"]["state"], found["limit"]) == ("active", "retired", 2)
    assert found["queries"][0]["hits"][0]["path"] == "guides/whales.md"
    assert found["queries"][1]["hits"][0]["new"]["rank"] == 1
    assert listed == 0
    assert [each["state"] for each in orjson.loads(generations)["generations"]] == ["retired", "active"]
    assert "guides/whales.md" in table
    assert (unknown, orjson.loads(told)["error"]["code"]) == (1, "generation_unknown")
    assert (unasked, orjson.loads(usage)["error"]["code"]) == (1, "invalid_usage")
