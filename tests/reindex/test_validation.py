"""How a validation goes: the same twice, with progress, stopped at once, and honest about what it cannot do."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import orjson
import pytest
from sqlalchemy import text

from app.db.validation import ValidationRepository
from app.domain.errors import EmbedderUnavailableError, VectorStoreUnavailableError
from app.embedders.http import HttpEmbedder
from app.evaluation.policy import STRICT, CheckName
from app.evaluation.report import Report, read_report
from app.pipeline.validation.documents import CHUNKS_PER_PAGE, take_page
from app.pipeline.validation.gate import validate
from app.pipeline.validation.queries import make_queries
from app.pipeline.validation.sample import IdSample, rank_ids
from app.pipeline.validation.sides import GivenQuery, Side, Sizes
from app.stores.qdrant import QdrantStore
from tests.reindex.generations import ProjectedServer, Shelf, first_numbers, turned

SIZES = Sizes(texts=40, words=20, neighbours=10, filters=5, recut=10, documents=15)
OF_SEARCHES = ("search_overlap", "search_quality", "latency")


def without_times(report: Report) -> list[Any]:
    """What must be the same twice."""
    return [check for check in report.to_dict()["checks"] if check["name"] != "latency"]


async def test_the_same_seed_gives_the_same_report(shelf: Shelf) -> None:
    """Numbers, samples and queries, though hits come in any order; another seed takes other samples."""
    generation = await shelf.rebuild()
    first = await validate(shelf.validation(generation, sizes=SIZES, seed=3))
    again = await validate(shelf.validation(generation, sizes=SIZES, seed=3))
    other = await shelf.validate(generation, sizes=SIZES, seed=4)

    assert without_times(first) == without_times(again)
    assert other.passed
    assert [check.name for check in first.checks] == list(CheckName)


async def test_progress_is_told_and_never_goes_back(shelf: Shelf) -> None:
    """Each stage begins anew and ends with all of it done."""
    told: dict[str, list[tuple[int, int]]] = {}

    async def tell(stage: str, done: int, total: int) -> None:
        told.setdefault(stage, []).append((done, total))

    await shelf.validate(await shelf.rebuild(), sizes=SIZES, tell=tell)

    assert list(told) == ["documents", "contents", "filters", "vectors", "words", "neighbours", "searches"]
    for stage, steps in told.items():
        assert [done for done, _ in steps] == sorted(done for done, _ in steps), stage
        assert steps[-1][0] == steps[-1][1] > 0, stage


@pytest.mark.parametrize("stage", ["documents", "contents", "vectors", "searches"])
async def test_it_stops_where_it_is_cancelled(shelf: Shelf, stage: str) -> None:
    """Nothing runs on and no connection is kept."""
    generation = await shelf.rebuild()
    reached = asyncio.Event()

    async def tell(now: str, done: int, total: int) -> None:
        if now == stage:
            reached.set()
            await asyncio.Event().wait()

    before = asyncio.all_tasks()
    running = asyncio.create_task(validate(shelf.validation(generation, sizes=SIZES, tell=tell)))
    await asyncio.wait_for(reached.wait(), timeout=60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await shelf.drop(generation)

    assert asyncio.all_tasks() <= before
    assert shelf.parts.database.used == 0


async def test_an_old_model_that_is_gone(shelf: Shelf) -> None:
    """What needs both sides is not made and says why: the default passes, strict does not; the rest is checked."""
    generation = await shelf.rebuild()
    gone = HttpEmbedder("http://127.0.0.1:9/v1", model="wordllama")
    old = Side(generation=shelf.generation, embedder=gone)
    lenient = await validate(replace(shelf.validation(generation, sizes=SIZES), old=old))
    strict = await validate(replace(shelf.validation(generation, sizes=SIZES, policy=STRICT), old=old))
    await gone.aclose()
    await shelf.drop(generation)

    assert lenient.passed
    assert [check.name for check in lenient.checks if not check.is_made] == list(OF_SEARCHES)
    assert lenient.check("search_quality").detail["not_made"] == "embedder_unavailable"
    assert set(strict.failed) == set(OF_SEARCHES)


async def test_an_old_model_that_is_another_one_now(shelf: Shelf) -> None:
    """It would find nothing in the old generation, which would make the new one look good."""
    generation = await shelf.rebuild()
    with ProjectedServer("wordllama", turned(9), dimension=256).running() as server:
        other = HttpEmbedder(server.url, model=server.model)
        old = Side(generation=shelf.generation, embedder=other)
        report = await validate(replace(shelf.validation(generation, sizes=SIZES), old=old))
        await other.aclose()
    await shelf.drop(generation)

    assert report.check("search_quality").detail["not_made"] == "embedder_changed"


async def test_a_new_model_that_does_not_answer_is_no_verdict(shelf: Shelf) -> None:
    """The operation tries again later."""
    with ProjectedServer("away", turned(1), dimension=256).running() as server:
        embedder = HttpEmbedder(server.url, model=server.model)
        generation = await shelf.rebuild(embedder=embedder)
        server.fail_next(503, times=1000)
        with pytest.raises(EmbedderUnavailableError):
            await shelf.validate(generation, embedder=embedder, sizes=SIZES)
        await embedder.aclose()


async def test_a_store_that_does_not_answer_is_no_verdict(shelf: Shelf) -> None:
    """Nor is an outage of the store."""
    generation = await shelf.rebuild()
    away = QdrantStore("http://127.0.0.1:9", api_key=None)
    with pytest.raises(VectorStoreUnavailableError):
        await validate(shelf.validation(generation, store=away, sizes=SIZES))
    await away.aclose()
    await shelf.drop(generation)


async def test_a_model_that_takes_small_batches_and_refuses_a_text(shelf: Shelf) -> None:
    """Batches are halved; a text that is refused by itself is counted, and is no wrong vector."""
    with ProjectedServer("picky", turned(1), dimension=256).running() as server:
        embedder = HttpEmbedder(server.url, model=server.model)
        generation = await shelf.rebuild(embedder=embedder)
        server.batch_limit = 5
        server.poison = "boundary"
        report = await shelf.validate(generation, embedder=embedder, sizes=replace(SIZES, documents=0))
        await embedder.aclose()

    vectors = report.check("vectors")
    assert vectors.passed
    assert vectors.detail["refused"] > 0
    assert vectors.summary.startswith(f"{SIZES.texts - vectors.detail['refused']} texts embedded again")


async def test_a_model_by_another_name_is_the_same_model(shelf: Shelf) -> None:
    """Its canaries say so, and then the same hits must come; another model may find others."""
    renamed, other = ProjectedServer("renamed", lambda vector: vector, dimension=256), turned(3)
    with renamed.running():
        embedder = HttpEmbedder(renamed.url, model=renamed.model)
        generation = await shelf.begin(embedder=embedder)
        assert generation.fingerprint != shelf.generation.fingerprint
        assert shelf.validation(generation).is_same_model
        renamed.project = other
        turned_one = await shelf.begin(embedder=embedder)
        assert not shelf.validation(turned_one).is_same_model
        await embedder.aclose()
    for begun in (generation, turned_one):
        await shelf.drop(begun)


async def test_a_report_names_the_documents_that_moved(shelf: Shelf) -> None:
    """By URI and title, so that they are known also when neither side exists any more."""
    with ProjectedServer("small", first_numbers(64), dimension=64).running() as server:
        embedder = HttpEmbedder(server.url, model=server.model)
        report = await shelf.validate(await shelf.rebuild(embedder=embedder), embedder=embedder, sizes=SIZES)
        await embedder.aclose()
    async with shelf.parts.database.begin() as connection:
        rows = await connection.execute(text("SELECT id, uri, title FROM documents"))
        known = {str(row.id): {"uri": row.uri, "title": row.title and row.title[:199]} for row in rows}

    moved = report.check("search_overlap").detail["moved"]
    queries = [query for mode in ("dense", "hybrid") for query in moved[mode]]
    assert moved["dense"]
    for query in queries:
        assert set(query["documents"]) == {*query["old"], *query["new"]}
        for document, name in query["documents"].items():
            assert name["uri"] == known[document]["uri"]
            assert name["title"][:199] == known[document]["title"]
    # it is stored and sent as JSON
    assert read_report(orjson.loads(orjson.dumps(report.to_dict()))) == report


async def test_given_queries_are_asked_and_judged(shelf: Shelf) -> None:
    """Their measures stand by themselves; queries without judgments count for the overlap alone."""
    documents = (await shelf.load_texts())[:12]
    given = [GivenQuery(text=document.title or "", relevant={document.id: 3.0, uuid4(): 1.0}) for document in documents]
    report = await shelf.validate(
        await shelf.rebuild(), sizes=SIZES, given=[*given, GivenQuery(text="anything"), GivenQuery(text="  ")]
    )

    measures = report.check("search_quality").detail["measures"]
    assert measures["judged_ndcg@10"] == measures["judged_mrr_dense"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert f"of {SIZES.documents * 3 + 13} queries" in report.check("search_overlap").summary


async def test_an_empty_collection_may_be_rebuilt(shelf: Shelf) -> None:
    """Nothing is missing of nothing, whatever the policy."""
    old, new = await shelf.begin(), await shelf.begin()
    for generation in (old, new):
        await shelf.parts.store.create_collection(generation.name, dimension=generation.dimension)
    side = Side(generation=old, embedder=shelf.embedder)
    report = await validate(replace(shelf.validation(new, sizes=SIZES, policy=STRICT), old=side))
    await shelf.drop(old)
    await shelf.drop(new)

    assert report.failed == []
    assert report.check("sparse").summary == "the collection is empty"


async def test_characters_are_counted_once_and_without_white_space(shelf: Shelf) -> None:
    """What chunks share counts once, of what lies between them nothing does; as Python would count."""
    texts = {document.id: document for document in await shelf.load_texts()}
    async with shelf.parts.database.begin() as connection:
        repository = ValidationRepository(connection, shelf.collection.id)
        measured = await repository.measure(shelf.generation.id, list(texts))
        spans = await repository.list_spans(shelf.generation.id, list(texts))

    for document, counted in measured.items():
        covered = {
            piece.start + place: character
            for piece in texts[document].pieces
            for place, character in enumerate(piece.text)
        }
        assert counted == sum(not character.isspace() for character in covered.values())
        assert counted == sum(span.fresh for span in spans if span.document_id == document)


async def test_documents_are_read_page_by_page(shelf: Shelf) -> None:
    """Each once and in order, with the chunks of both sides."""
    both = (shelf.generation.id, shelf.generation.id)
    async with shelf.parts.database.begin() as connection:
        repository = ValidationRepository(connection, shelf.collection.id)
        whole = await repository.list_documents(both, after=None, limit=1000)
        pages, after = [], None
        while page := await repository.list_documents(both, after=after, limit=7):
            pages += page
            after = page[-1][0]
        chunks = await connection.scalar(
            text("SELECT count(*) FROM chunks WHERE generation_id = :id"), {"id": shelf.generation.id}
        )

    assert pages == whole == sorted(whole)
    assert sum(number for _, number in whole) == 2 * chunks


def test_a_page_is_bounded_by_chunks() -> None:
    """Large documents come alone."""
    ids = [UUID(int=number) for number in range(4)]
    half = CHUNKS_PER_PAGE // 2

    assert take_page(list(zip(ids, [half, half, 1, 1], strict=True))) == ids[:2]
    assert take_page(list(zip(ids, [9 * half, 1, 1, 1], strict=True))) == ids[:1]
    assert take_page([]) == []


def test_samples_do_not_depend_on_pages() -> None:
    """The same ids are drawn whatever the order in which they come, each with its own row."""
    random = np.random.default_rng(1)
    ids = [uuid4() for _ in range(1000)]
    rows = np.arange(1000, dtype=np.float32).reshape(1000, 1)
    samples = []
    for size in (1000, 7):
        order = random.permutation(1000)
        sample = IdSample(50, seed=5, width=1)
        for start in range(0, 1000, size):
            part = order[start : start + size]
            sample.offer([ids[int(number)] for number in part], rows[part])
        samples.append(sample)

    assert samples[0].ids == samples[1].ids
    assert len(set(samples[0].ids)) == 50
    assert [ids.index(point) for point in samples[0].ids] == samples[0].rows[:, 0].tolist()
    assert sorted(ids, key=lambda point: rank_ids([point], 5)[0])[:50] == samples[0].ids


def test_every_id_may_be_drawn() -> None:
    """Over many seeds each of a hundred ids is in about a tenth of samples of ten, also if they are no random ones."""
    ids = [UUID(int=number) for number in range(100)]
    counts = dict.fromkeys(ids, 0)
    for seed in range(2000):
        sample = IdSample(10, seed=seed)
        sample.offer(ids)
        for point in sample.ids:
            counts[point] += 1

    assert 130 < min(counts.values()) <= max(counts.values()) < 270


async def test_queries_are_made_of_documents(shelf: Shelf) -> None:
    """Title, first sentence and rarest words of each, always the same, all of them known."""
    documents = (await shelf.load_texts())[:20]
    queries = make_queries(documents)

    assert queries == make_queries(documents)
    assert {query.group for query in queries} == set(range(20))
    assert all(set(query.relevant) == {documents[query.group].id} for query in queries)
    assert 40 <= len(queries) <= 60
    assert all(0 < len(query.text) <= 300 for query in queries)
