"""Two real generations, asked side by side, each with its own model."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest
from sqlalchemy import text

from app.api.serving import serving
from app.bootstrap.api import open_api
from app.domain.collections import Generation
from app.domain.comparison import Change, Comparison, NothingToCompareError
from app.domain.documents import Chunking
from app.domain.errors import CollectionNotFoundError, UnknownModelError
from app.domain.points import SearchFilter, SearchMode
from app.domain.ports import Embedder
from app.domain.search_settings import SearchSettings
from app.embedders.http import HttpEmbedder
from app.operations.collections import IdentityService
from app.search.comparison import ComparisonService
from app.search.service import SearchService
from tests.api.test_http import assert_problem
from tests.harness import open_client, run_cli
from tests.model_server import FakeModelServer
from tests.reindex.generations import CRANFIELD, ProjectedServer, Shelf, first_numbers, turned

SMALL = Chunking(size=40, overlap=0)


def read_queries(count: int) -> list[str]:
    """The first queries of the dataset."""
    lines = (CRANFIELD / "queries.jsonl").read_bytes().splitlines()
    return [orjson.loads(line)["text"] for line in lines[:count]]


def service(shelf: Shelf, *embedders: Embedder, model_seconds: float = 30.0) -> ComparisonService:
    """Comparisons on a server that has these models."""
    known = {embedder.model: embedder for embedder in embedders}

    def find(model: str) -> Embedder:
        if model not in known:
            raise UnknownModelError(model, "tests have others")
        return known[model]

    search = SearchService(shelf.parts.database, shelf.parts.store, find)
    return ComparisonService(shelf.parts.database, search, kept_seconds=3600, model_seconds=model_seconds)


async def compare(shelf: Shelf, comparisons: ComparisonService, *queries: str, **options: Any) -> Comparison:
    """The owner's comparison, by meaning."""
    values = {"mode": SearchMode.DENSE, "limit": 10, "filter": SearchFilter(), "generation": None, **options}
    user_id, name = shelf.collection.user_id, shelf.collection.name
    return await comparisons.compare(values.pop("user_id", user_id), name, queries=queries, **values)


async def retire(shelf: Shelf, generation: Generation) -> None:
    """As after a rollback."""
    async with shelf.parts.database.begin() as connection:
        statement = "UPDATE generations SET state = 'retired', retired_at = now() WHERE id = :id"
        await connection.execute(text(statement), {"id": generation.id})


@asynccontextmanager
async def second(
    shelf: Shelf, *, embedder: Embedder | None = None, chunking: Chunking | None = None
) -> AsyncIterator[Generation]:
    """A complete second generation, which is dropped afterwards."""
    generation = await shelf.rebuild(embedder=embedder, chunking=chunking)
    await retire(shelf, generation)
    try:
        yield generation
    finally:
        await shelf.drop(generation)


@asynccontextmanager
async def asking(server: FakeModelServer) -> AsyncIterator[HttpEmbedder]:
    """Its client."""
    with server.running():
        embedder = HttpEmbedder(server.url, model=server.model)
        try:
            yield embedder
        finally:
            await embedder.aclose()


@pytest.mark.parametrize("mode", [SearchMode.DENSE, SearchMode.BM25])
async def test_an_equal_generation_agrees(shelf: Shelf, mode: SearchMode) -> None:
    """Every document of every query is where it was, also where words give equal scores."""
    async with second(shelf) as generation:
        found = await compare(shelf, service(shelf, shelf.embedder), *read_queries(20), mode=mode)

    assert (found.old.generation.name, found.new.generation.name) == (shelf.generation.name, generation.name)
    assert len(found.queries) == 20
    for query in found.queries:
        assert query.overlap == 1
        assert query.rank_biased_overlap == pytest.approx(1)
        assert query.hits
        assert {hit.change for hit in query.hits} == {Change.SAME}


async def test_an_equal_generation_nearly_agrees_in_both_ways_at_once(shelf: Shelf) -> None:
    """The same documents; the store orders equal scores of words by chance before it fuses them, which moves a few."""
    async with second(shelf):
        found = await compare(shelf, service(shelf, shelf.embedder), *read_queries(20), mode=SearchMode.HYBRID)

    changes = [hit.change for query in found.queries for hit in query.hits]
    assert changes.count(Change.SAME) >= 0.9 * len(changes) > 0
    assert all(query.rank_biased_overlap is not None and query.rank_biased_overlap > 0.8 for query in found.queries)


async def test_each_side_is_asked_with_its_own_model(shelf: Shelf) -> None:
    """The same model turned around finds the same: neither side would find it with the other one's vectors."""
    async with (
        asking(ProjectedServer("turned", turned(1), dimension=256)) as model,
        second(shelf, embedder=model),
    ):
        queries = read_queries(20)
        found = await compare(shelf, service(shelf, shelf.embedder, model), *queries)

    scores = [query.overlap for query in found.queries]
    assert (found.old.generation.model, found.new.generation.model) == ("wordllama", "turned")
    # float32 sums in another order, where two documents are equally near
    assert all(score is not None and score >= 0.9 for score in scores)
    assert scores.count(1) >= 18


async def test_another_model_and_other_chunks_move_documents(shelf: Shelf) -> None:
    """Vectors of another length and smaller chunks: ranks of both sides are those that each side's search has."""
    async with (
        asking(ProjectedServer("small", first_numbers(64), dimension=64)) as model,
        second(shelf, embedder=model, chunking=SMALL) as generation,
    ):
        queries = read_queries(10)
        comparisons = service(shelf, shelf.embedder, model)
        found = await compare(shelf, comparisons, *queries)
        search = SearchService(shelf.parts.database, shelf.parts.store, lambda _: model)
        vector = await model.embed_query(queries[0])
        expected = await search.find_hits(
            shelf.collection,
            generation,
            query=queries[0],
            vector=vector,
            settings=SearchSettings(mode=SearchMode.DENSE),
            limit=10,
        )

    changes = {hit.change for query in found.queries for hit in query.hits}
    assert changes == set(Change)
    assert (found.new.generation.dimension, found.new.generation.chunking) == (64, SMALL)
    assert all(query.overlap is not None and 0 < query.overlap <= 1 for query in found.queries)
    new = [hit.new for hit in found.queries[0].hits if hit.new]
    assert [hit.document_id for hit in new] == [hit.document_id for hit in expected]
    assert [hit.rank for hit in new] == list(range(1, 11))


@pytest.mark.parametrize("mode", [SearchMode.DENSE, SearchMode.HYBRID])
async def test_a_model_that_does_not_answer_is_its_sides_error(shelf: Shelf, mode: SearchMode) -> None:
    """The active side is shown all the same, and by words both are."""
    async with (
        asking(ProjectedServer("away", turned(2), dimension=256)) as model,
        second(shelf, embedder=model),
    ):
        gone = HttpEmbedder("http://127.0.0.1:9/v1", model="away")
        comparisons = service(shelf, shelf.embedder, gone)
        found = await compare(shelf, comparisons, *read_queries(2), mode=mode)
        by_words = await compare(shelf, comparisons, *read_queries(2), mode=SearchMode.BM25)
        await gone.aclose()

    assert (found.old.error_code, found.new.error_code) == (None, "embedder_unavailable")
    for query in found.queries:
        assert (query.overlap, query.rank_biased_overlap) == (None, None)
        assert [(hit.change, hit.new) for hit in query.hits] == [(None, None)] * 10
    assert (by_words.new.error_code, by_words.queries[0].overlap) == (None, 1)


async def test_a_model_that_hangs_keeps_nobody_waiting(shelf: Shelf) -> None:
    """It has its time, and then its side an error."""
    async with (
        asking(server := ProjectedServer("slow", turned(3), dimension=256)) as model,
        second(shelf, embedder=model),
    ):
        server.held = True
        found = await compare(shelf, service(shelf, shelf.embedder, model, model_seconds=0.2), "wings in a slipstream")
        server.held = False

    assert found.new.error_code == "embedder_unavailable"
    assert found.new.error_message == "the model 'slow' has not answered within 0.2 s"
    assert (found.old.error_code, len(found.queries[0].hits)) == (None, 10)


async def test_a_model_that_is_another_one_now_is_not_believed(shelf: Shelf) -> None:
    """Each generation has a check of its own, though both models have the same name and one of them was checked."""
    async with (
        asking(ProjectedServer("wordllama", turned(4), dimension=256)) as model,
        second(shelf, embedder=model),
    ):
        comparisons = service(shelf, shelf.embedder)
        found = await compare(shelf, comparisons, "wings")
        again = await compare(shelf, comparisons, "wings")

    for answer in (found, again):
        assert (answer.old.error_code, answer.new.error_code) == (None, "embedder_changed")


async def test_where_neither_side_can_be_asked_there_is_no_answer(shelf: Shelf) -> None:
    """It is the active side's error."""
    async with (
        asking(ProjectedServer("other", turned(6), dimension=256)) as model,
        second(shelf, embedder=model),
    ):
        with pytest.raises(UnknownModelError, match="wordllama"):
            await compare(shelf, service(shelf), "wings")


async def test_a_store_that_has_lost_a_generation_is_its_sides_error(shelf: Shelf) -> None:
    """As between the moment that it is dropped and the moment that nobody lists it any more."""
    async with second(shelf) as generation:
        await shelf.parts.store.drop_collection(generation.name)
        found = await compare(shelf, service(shelf, shelf.embedder), "wings")

    assert (found.old.error_code, found.new.error_code) == (None, "generation_missing")


async def test_one_that_is_being_built_has_to_be_named(shelf: Shelf) -> None:
    """It is not complete, and what it does not have yet is lost."""
    build = (await shelf.build()).copy()
    first = {chunk.document_id for chunk in build.chunks[:60]}
    keep = [number for number, chunk in enumerate(build.chunks) if chunk.document_id in first]
    part = replace(
        build,
        chunks=[build.chunks[number] for number in keep],
        vectors=build.vectors[keep],
        payloads=[build.payloads[number] for number in keep],
    )
    generation = await shelf.write(part, await shelf.begin())
    comparisons = service(shelf, shelf.embedder)

    with pytest.raises(NothingToCompareError, match=f"is kept for 1h; {generation.name} is being built"):
        await compare(shelf, comparisons, "wings")
    found = await compare(shelf, comparisons, *read_queries(10), generation=generation.name)
    await shelf.drop(generation)

    assert (found.old.generation.is_complete, found.new.generation.is_complete) == (True, False)
    assert {hit.hit.document_id for query in found.queries for hit in query.hits if hit.new} <= first
    assert any(hit.change is Change.LOST for query in found.queries for hit in query.hits)


async def test_a_filter_and_a_limit_hold_on_both_sides(shelf: Shelf) -> None:
    """Only the documents that it names, and no more than were asked for."""
    async with second(shelf, chunking=SMALL):
        comparisons = service(shelf, shelf.embedder)
        everything = await compare(shelf, comparisons, "flow over wings", limit=3)
        chosen = everything.queries[0].hits[0].hit
        found = await compare(
            shelf, comparisons, "flow over wings", filter=SearchFilter(document_ids=(chosen.document_id,))
        )

    assert 3 <= len(everything.queries[0].hits) <= 6
    assert [(hit.hit.document_id, hit.change) for hit in found.queries[0].hits] == [(chosen.document_id, Change.SAME)]


async def test_nobody_compares_what_is_not_theirs(shelf: Shelf) -> None:
    """Another user has no such collection, and knowing a generation's name does not help."""
    stranger = uuid4()

    with pytest.raises(CollectionNotFoundError):
        await compare(shelf, service(shelf, shelf.embedder), "wings", user_id=stranger)
    with pytest.raises(CollectionNotFoundError):
        await compare(
            shelf, service(shelf, shelf.embedder), "wings", user_id=stranger, generation=shelf.generation.name
        )


async def _chunks_of(shelf: Shelf, generation_id: UUID) -> int:
    async with shelf.parts.database.begin() as connection:
        statement = text("SELECT count(*) FROM chunks WHERE generation_id = :id")
        return int(await connection.scalar(statement, {"id": generation_id}) or 0)


async def test_both_over_http(shelf: Shelf) -> None:
    """The list says which there are; the server's own models answer, each for its side; what is dropped is unknown."""
    compare_path, list_path = (f"/api/v1/collections/cranfield/{name}" for name in ("compare", "generations"))
    async with (
        asking(server := ProjectedServer("turned-http", turned(7), dimension=256)) as model,
        second(shelf, embedder=model, chunking=SMALL) as generation,
    ):
        changes = {"embedding_url": server.url, "embedding_model": server.model}
        parts = replace(shelf.parts, settings=shelf.parts.settings.model_copy(update=changes))
        async with open_client(parts) as api:
            listed = (await api.client.get(list_path)).json()["generations"]
            answer = await api.client.post(
                compare_path, json={"queries": read_queries(2), "generation": str(generation.id)}
            )
            itself = await api.client.post(compare_path, json={"query": "wings", "generation": shelf.generation.name})
            unknown = await api.client.post(compare_path, json={"query": "wings", "generation": "x\u202e"})
            refused = await _ask_as_somebody_else(shelf, api.client, list_path, compare_path)
        counts = [await _chunks_of(shelf, one) for one in (generation.id, shelf.generation.id)]
    async with open_client(shelf.parts) as api:
        left = (await api.client.get(list_path)).json()["generations"]
        nothing = await api.client.post(compare_path, json={"query": "wings"})
        dropped = await api.client.post(compare_path, json={"query": "wings", "generation": generation.name})

    assert [(one["name"], one["state"]) for one in listed] == [
        (generation.name, "retired"),
        (shelf.generation.name, "active"),
    ]
    assert [one["points"] for one in listed] == counts
    assert counts[0] > counts[1] > 0
    assert (listed[0]["chunking"]["size"], listed[0]["retired_at"] is not None) == (40, True)
    body = answer.json()
    assert (body["old"]["model"], body["new"]["model"]) == ("wordllama", "turned-http")
    assert (body["old"]["error"], body["new"]["error"]) == (None, None)
    assert [query["query"] for query in body["queries"]] == read_queries(2)
    assert 0 < body["rank_biased_overlap"] <= 1
    assert all(
        len(hit[side]["text"]) <= 320 for hit in body["queries"][0]["hits"] for side in ("old", "new") if hit[side]
    )
    assert_problem(itself, 422, "invalid_input")
    assert_problem(unknown, 404, "generation_unknown")
    assert [answer.status_code for answer in refused] == [404, 404]
    assert [one["name"] for one in left] == [shelf.generation.name]
    assert_problem(nothing, 409, "nothing_to_compare")
    assert_problem(dropped, 404, "generation_unknown")


async def _ask_as_somebody_else(
    shelf: Shelf, client: httpx.AsyncClient, list_path: str, compare_path: str
) -> list[httpx.Response]:
    key = await IdentityService(shelf.parts.database).issue_key("somebody else", name="test")
    headers = {"Authorization": f"Bearer {key}"}
    return [
        await client.get(list_path, headers=headers),
        await client.post(compare_path, json={"query": "wings"}, headers=headers),
    ]


async def test_the_command_asks_a_server(shelf: Shelf, tmp_path: Path) -> None:
    """With ``VECLOOM_URL`` it needs no folder; a model that is away is exit code 3, with the other side shown."""
    data = tmp_path / "data"
    key = await IdentityService(shelf.parts.database).issue_key("tester", name="command")
    async with (
        asking(ProjectedServer("away-http", turned(8), dimension=256)) as model,
        second(shelf, embedder=model) as generation,
        open_api(shelf.parts) as application,
        serving(application, host="127.0.0.1", port=0) as url,
    ):
        environment = {"VECLOOM_URL": url, "VECLOOM_API_KEY": key}
        command = ("compare", "cranfield", "--query", "flow over wings", "--json")
        away, told, _ = await run_cli(*command, data=data, **environment)
        both, said, _ = await run_cli(*command, "--mode", "bm25", data=data, **environment)
        _, table, _ = await run_cli("generations", "cranfield", data=data, **environment)

    answer = orjson.loads(told)
    assert (away, answer["new"]["error"]["code"], len(answer["queries"][0]["hits"])) == (3, "unknown_model", 10)
    assert (both, orjson.loads(said)["overlap"]) == (0, 1)
    assert generation.name in table
    assert not _exists(data)


def _exists(data: Path) -> bool:
    return data.exists()
