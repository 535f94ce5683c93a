"""Searching a real index over HTTP."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.domain.points import SearchMode
from tests.api.test_http import assert_problem
from tests.harness import Api
from tests.search.conftest import DOCUMENTS, Index

MODES = [mode.value for mode in SearchMode]
EVERYTHING = {path.partition("/")[2] for path in DOCUMENTS}
OF_A = {path.removeprefix("a/") for path in DOCUMENTS if path.startswith("a/")}


@pytest.mark.parametrize("mode", MODES)
async def test_without_a_filter_every_document_can_be_found(index: Index, mode: str) -> None:
    """Each document is one hit, in every mode."""
    answer = (await index.ask("whales ocean", mode=mode)).json()

    paths = [hit["path"] for hit in answer["hits"]]
    assert len(paths) == len(set(paths))
    assert set(paths) == EVERYTHING
    assert [hit["rank"] for hit in answer["hits"]] == list(range(1, len(paths) + 1))
    assert [hit["score"] for hit in answer["hits"]] == sorted((hit["score"] for hit in answer["hits"]), reverse=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("restrict", "expected"),
    [
        ({"folders": ["guides"]}, {"guides/whales.md", "guides/deep/squid.md"}),
        ({"folders": ["/guides/"]}, {"guides/whales.md", "guides/deep/squid.md"}),
        ({"folders": ["guides/deep"]}, {"guides/deep/squid.md"}),
        ({"folders": ["deep"]}, set()),
        ({"folders": ["guide"]}, set()),
        ({"folders": ["rockets.txt"]}, {"rockets.txt"}),
        ({"folders": ["guides/deep", "guides-old"]}, {"guides/deep/squid.md", "guides-old/whales.txt"}),
        ({"folders": ["/"]}, EVERYTHING),
        ({"file_types": ["csv"]}, {"table.csv"}),
        ({"file_types": [".MD"]}, {"guides/whales.md", "guides/deep/squid.md", "ships.md"}),
        ({"file_types": ["csv", "md"], "folders": ["guides"]}, {"guides/whales.md", "guides/deep/squid.md"}),
        ({"file_types": ["pdf"]}, set()),
        ({}, EVERYTHING),
    ],
)
async def test_folders_and_file_types_restrict(
    index: Index, mode: str, restrict: dict[str, list[str]], expected: set[str]
) -> None:
    """A folder means all below it and nothing beside it; values are alternatives, fields are combined."""
    assert await index.paths("whales ocean", mode=mode, filter=restrict) == expected


@pytest.mark.parametrize("mode", MODES)
async def test_sources_restrict(index: Index, mode: str) -> None:
    """One source, both, and one that is none of this collection's."""
    first, second, unknown = [
        await index.paths("whales ocean", mode=mode, filter={"source_ids": ids})
        for ids in ([index.sources["a"]], [index.sources["b"], index.sources["a"]], [str(uuid4())])
    ]

    assert first == OF_A
    assert second == EVERYTHING
    assert unknown == set()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "query", ["the of and is", "🐋🐋", "?!...", "\u202e\u200b", "東京", "a" * 4096, "' OR 1=1; --"]
)
async def test_any_query_is_answered(index: Index, mode: str, query: str) -> None:
    """Stop words, signs and endless words are a query like any other."""
    answer = await index.ask(query, mode=mode, limit=3)

    assert answer.status_code == 200, answer.text
    assert len(answer.json()["hits"]) <= 3


@pytest.mark.parametrize(
    "body",
    [
        {"query": ""},
        {"query": "x" * 10_000},
        {"query": None},
        {},
        {"query": "a\x00"},
        {"query": "a", "mode": "fuzzy"},
        {"query": "a", "limit": 0},
        {"query": "a", "limit": 101},
        {"query": "a", "filter": {"source_ids": ["x"]}},
        {"query": "a", "filter": {"folders": [""]}},
        {"query": "a", "filter": {"unknown": []}},
        {"query": "a", "unknown": 1},
    ],
)
async def test_a_wrong_search_says_what_is_wrong(index: Index, body: dict[str, Any]) -> None:
    """What lies outside its bounds is refused with the field's name."""
    answer = await index.api.client.post(f"/api/v1/collections/{index.name}/search", json=body)

    problem = assert_problem(answer, 422, "invalid_request")
    assert all(error["location"].startswith("body.") for error in problem["errors"])


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_the_limit_is_kept(index: Index, limit: int) -> None:
    """There are as many hits as asked for, if there are as many documents."""
    answer = (await index.ask("whales ocean", limit=limit)).json()

    assert len(answer["hits"]) == min(limit, len(DOCUMENTS))


@pytest.mark.parametrize(
    ("query", "marked"),
    [
        ("strassenkönig", ["Straßenkönig"]),
        ("NAÏVE brücke", ["naïve", "Brücke"]),
        ("café", ["Cafe\u0301"]),
        ("東京", ["東京"]),
        ("whale", ["Whales", "whales"]),
    ],
)
async def test_highlights_are_exact_beyond_ascii(index: Index, query: str, marked: list[str]) -> None:
    """Spans count characters, whatever stands before them; case and accents' spelling do not matter."""
    answer = (await index.ask(query, filter={"folders": ["languages.txt"]})).json()

    [hit] = answer["hits"]
    assert [hit["text"][start:end] for start, end in hit["highlights"]] == marked


async def test_an_answer_says_how_it_was_found(index: Index) -> None:
    """Mode, time and the generation that is active in Postgres and exists in the store."""
    answer = (await index.ask("whales", mode="bm25")).json()

    assert answer["mode"] == "bm25"
    assert answer["took_ms"] > 0
    assert answer["generation"] in await index.api.parts.store.list_collections()


async def test_a_hit_shows_where_its_text_stands(index: Index) -> None:
    """``start`` and ``end`` are the span of the chunk in the document's text."""
    answer = (await index.ask("squid", mode="bm25", filter={"folders": ["guides/deep/squid.md"]})).json()

    [hit] = answer["hits"]
    assert DOCUMENTS["a/guides/deep/squid.md"][hit["start"] : hit["end"]] == hit["text"]
    assert hit["title"] == "Squid"


async def test_a_collection_is_not_ready_before_its_generation(api: Api, folder: Path) -> None:
    """While no worker has created the generation, a search is a conflict that says what to wait for."""
    await api.create("notes", folder)

    answer = await api.client.post("/api/v1/collections/notes/search", json={"query": "whales"})

    assert_problem(answer, 409, "collection_not_ready")


async def test_nobody_searches_what_is_not_theirs(index: Index) -> None:
    """Another user's collection does not exist, by name and by id."""
    collection = (await index.api.client.get(f"/api/v1/collections/{index.name}")).json()
    key = await index.issue_key("somebody else")

    answers = [
        await index.api.client.post(
            f"/api/v1/collections/{name}/search", json={"query": "a"}, headers={"Authorization": f"Bearer {key}"}
        )
        for name in (index.name, collection["id"])
    ]

    for answer in answers:
        assert_problem(answer, 404, "collection_not_found")
