"""Generations and comparisons over HTTP: what is asked for, what is answered, what is refused."""

from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from app.api import compare, generations
from app.domain.points import SearchFilter
from tests.api.conftest import Edge
from tests.api.test_http import assert_problem

PATH = "/api/v1/collections/handbook/compare"


async def test_generations_are_listed(client: httpx.AsyncClient) -> None:
    """Each with its state, model, chunks and times; a collection that does not exist has none."""
    answer = await client.get("/api/v1/collections/handbook/generations")
    missing = await client.get("/api/v1/collections/others/generations")

    active, retired = answer.json()["generations"]
    assert (active["state"], active["is_complete"], active["points"]) == ("active", True, 3)
    assert (active["retired_at"], active["drop_after"]) == (None, None)
    assert (retired["state"], retired["drop_after"]) == ("retired", "2026-03-01T09:30:07Z")
    assert (retired["model"], retired["dimension"]) == ("wordllama", 256)
    assert retired["chunking"] == {"strategy": "recursive", "size": 400, "overlap": 40}
    assert_problem(missing, 404, "collection_not_found")


async def test_one_query_is_compared(edge: Edge, client: httpx.AsyncClient) -> None:
    """The service gets what was asked for; the caller both ranks, the change and the scores."""
    body = {"query": " whale ", "limit": 3, "filter": {"folders": ["guides"]}, "generation": "g1"}

    answer = (await client.post(PATH, json=body)).json()

    assert edge.comparisons.asked == {
        "queries": ["whale"],
        "limit": 3,
        "filter": SearchFilter(folders=("guides",)),
        "generation": "g1",
    }
    assert (answer["mode"], answer["limit"], answer["overlap"], answer["rank_biased_overlap"]) == (
        "hybrid",
        3,
        0.5,
        0.5,
    )
    assert (answer["old"]["name"], answer["old"]["error"], answer["new"]["name"]) == ("g1", None, "g2")
    [query] = answer["queries"]
    [hit] = query["hits"]
    assert (query["query"], hit["change"], hit["path"]) == ("whale", "up", "a.md")
    assert (hit["old"]["rank"], hit["new"]["rank"]) == (2, 1)
    assert (hit["new"]["text"], hit["new"]["highlights"]) == ("a whale", [[2, 7]])


async def test_several_queries_are_compared(edge: Edge, client: httpx.AsyncClient) -> None:
    """In their order, and the same one twice if it is asked twice."""
    answer = (await client.post(PATH, json={"queries": ["a", "b", "a"]})).json()

    assert [query["query"] for query in answer["queries"]] == ["a", "b", "a"]
    assert edge.comparisons.asked["generation"] is None


async def test_a_side_that_failed_has_its_error(edge: Edge, client: httpx.AsyncClient) -> None:
    """Code and detail, without secrets; scores and changes are null, for there is nothing to compare with."""
    edge.comparisons.error = ("embedder_unavailable", "http://user:geheim@host/v1 does not answer")

    answer = await client.post(PATH, json={"query": "whale"})

    body = answer.json()
    assert answer.status_code == 200
    assert body["old"]["error"]["code"] == "embedder_unavailable"
    assert "geheim" not in answer.text
    assert body["new"]["error"] is None
    assert (body["overlap"], body["queries"][0]["rank_biased_overlap"]) == (None, None)
    [hit] = body["queries"][0]["hits"]
    assert (hit["change"], hit["old"], hit["new"]["rank"]) == (None, None, 1)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": "  "},
        {"query": "a\x00"},
        {"query": "x" * 5000},
        {"queries": []},
        {"queries": ["a", ""]},
        {"queries": ["a"] * 21},
        {"query": "a", "queries": ["b"]},
        {"query": "a", "limit": 0},
        {"query": "a", "limit": 101},
        {"query": "a", "mode": "fuzzy"},
        {"query": "a", "generation": ""},
        {"query": "a", "generation": "x" * 201},
        {"query": "a", "filter": {"unknown": []}},
        {"query": "a", "unknown": 1},
    ],
)
async def test_a_wrong_comparison_never_reaches_the_service(
    edge: Edge, client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    """What lies outside its bounds is refused with the field's name."""
    problem = assert_problem(await client.post(PATH, json=body), 422, "invalid_request")

    assert all(error["location"].startswith("body") for error in problem["errors"])
    assert edge.comparisons.asked == {}


async def test_both_need_a_key(client: httpx.AsyncClient) -> None:
    """As everything of a collection does."""
    del client.headers["Authorization"]

    listed = await client.get("/api/v1/collections/handbook/generations")
    compared = await client.post(PATH, json={"query": "a"})

    assert_problem(listed, 401, "not_authenticated")
    assert_problem(compared, 401, "not_authenticated")


MODELS = [
    compare.CompareRequest,
    compare.PlaceBody,
    compare.ComparedHitBody,
    compare.SideBody,
    generations.GenerationBody,
    generations.GenerationStatusBody,
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model.__name__))
def test_every_example_is_what_it_is_an_example_of(model: type[BaseModel]) -> None:
    """Examples have exactly the model's fields, with values it takes; those of a request may leave some out."""
    for example in model.model_json_schema()["examples"]:
        value = model.model_validate(example)
        assert set(example) <= set(model.model_fields)
        if model is not compare.CompareRequest:
            assert set(example) == set(value.model_dump())
