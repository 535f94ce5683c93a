"""What every vector store does, whichever server is behind it."""

import socket
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import numpy as np
import pytest

from app.domain.errors import (
    GenerationMismatchError,
    GenerationMissingError,
    VectorStoreRejectedError,
    VectorStoreUnavailableError,
)
from app.domain.points import PointQuery, ScoredPoint, SearchFilter, SearchMode, StoredPoints
from app.stores.qdrant import QdrantStore
from tests.contract.conftest import Address
from tests.contract.vector_server import DIMENSION, axis, make_points

WHALES = ("Whales sing songs under water", "Rockets leave the atmosphere", "Bread needs an hour in the oven")


async def read_ids(store: QdrantStore, name: str) -> list[tuple[UUID, UUID]]:
    """Everything ``stream_ids`` gives, in its order."""
    return [pair async for batch in store.stream_ids(name) for pair in batch]


async def read_pages(store: QdrantStore, name: str) -> list[StoredPoints]:
    """Everything ``stream_points`` gives, in pages of 100."""
    return [page async for page in store.stream_points(name, dimension=DIMENSION, page=100)]


def ask(mode: SearchMode, *, limit: int = 10, only: SearchFilter | None = None, exact: bool = False) -> PointQuery:
    """A question whose best answer is the first of ``WHALES`` in every mode."""
    only = only or SearchFilter()
    return PointQuery(mode=mode, text="singing whale", vector=axis(0), limit=limit, filter=only, exact=exact)


# --- collections --------------------------------------------------------------------------------


async def test_new_collection_is_described(store: QdrantStore, name: str) -> None:
    """A created collection is listed, empty, with its dimension and its sparse vector."""
    found = await store.find_collection(name)

    assert found is not None
    assert (found.name, found.dimension, found.has_sparse, found.points) == (name, DIMENSION, True, 0)
    assert name in await store.list_collections()


async def test_creating_again_keeps_the_points(store: QdrantStore, name: str) -> None:
    """Creating a collection that exists with the same shape changes nothing."""
    await store.upsert(name, make_points(WHALES))

    await store.create_collection(name, dimension=DIMENSION)

    assert await store.count(name) == len(WHALES)


async def test_creating_with_another_dimension_is_refused(store: QdrantStore, name: str) -> None:
    """A collection of another dimension is never taken for the wanted one."""
    with pytest.raises(GenerationMismatchError):
        await store.create_collection(name, dimension=DIMENSION + 1)


async def test_missing_collection_is_none(store: QdrantStore) -> None:
    """Looking for a collection that does not exist is no error."""
    assert await store.find_collection("contract-missing") is None


async def test_aliases_are_listed(store: QdrantStore, name: str) -> None:
    """Each with what it names now; they go with their collection."""
    first, second = f"contract-{uuid4().hex}", f"contract-{uuid4().hex}"
    await store.set_alias(first, to=name)
    await store.set_alias(second, to=name)

    listed = await store.list_aliases()
    await store.drop_collection(name)
    left = await store.list_aliases()

    assert (listed[first], listed[second]) == (name, name)
    assert not {first, second} & left.keys()


async def test_dropped_collection_is_gone(store: QdrantStore, name: str) -> None:
    """A dropped collection is not listed, and dropping it again does nothing."""
    await store.drop_collection(name)
    await store.drop_collection(name)

    assert name not in await store.list_collections()
    assert await store.find_collection(name) is None


MISSING: dict[str, Callable[[QdrantStore], Awaitable[object]]] = {
    "upsert": lambda store: store.upsert("contract-missing", make_points(WHALES)),
    "delete_points": lambda store: store.delete_points("contract-missing", [uuid4()]),
    "delete_documents": lambda store: store.delete_documents("contract-missing", [uuid4()]),
    "count": lambda store: store.count("contract-missing"),
    "stream_ids": lambda store: read_ids(store, "contract-missing"),
    "stream_points": lambda store: read_pages(store, "contract-missing"),
    "retrieve_points": lambda store: store.retrieve_points("contract-missing", [uuid4()], dimension=DIMENSION),
    "search": lambda store: store.search("contract-missing", ask(SearchMode.HYBRID)),
    "set_alias": lambda store: store.set_alias("contract-alias", to="contract-missing"),
}


@pytest.mark.parametrize("method", MISSING)
async def test_missing_collection_is_said_to_be_missing(store: QdrantStore, method: str) -> None:
    """Every method on a collection that does not exist raises the same error."""
    with pytest.raises(GenerationMissingError):
        await MISSING[method](store)


async def test_alias_moves_in_one_step(store: QdrantStore, name: str) -> None:
    """An alias answers for the collection it was last set to, and setting it again is harmless."""
    alias, other = f"{name}-alias", f"{name}-other"
    await store.create_collection(other, dimension=DIMENSION)
    await store.upsert(other, make_points(WHALES))

    await store.set_alias(alias, to=name)
    before = await store.count(alias)
    await store.set_alias(alias, to=other)
    await store.set_alias(alias, to=other)
    after = await store.count(alias)
    await store.drop_collection(other)

    assert (before, after) == (0, len(WHALES))
    with pytest.raises(GenerationMissingError):
        await store.count(alias)


# --- points -------------------------------------------------------------------------------------


async def test_upsert_replaces_points_of_the_same_id(store: QdrantStore, name: str) -> None:
    """A point written again has the new vector and text only."""
    point = uuid4()
    await store.upsert(name, make_points(["Whales sing"], ids=[point]))

    changed = make_points(["unused", "Bread rises"], ids=[uuid4(), point])
    await store.upsert(name, changed)

    assert await store.count(name) == 2
    assert np.allclose((await store.retrieve_points(name, [point], dimension=DIMENSION)).vectors, [axis(1)])
    assert await store.search(name, PointQuery(mode=SearchMode.BM25, text="whales")) == []


async def test_upsert_of_nothing_does_nothing(store: QdrantStore, name: str) -> None:
    """No points, no request, no error."""
    await store.delete_points(name, [])
    await store.delete_documents(name, [])

    assert not (await store.retrieve_points(name, [], dimension=DIMENSION)).ids
    assert await store.count(name) == 0


async def test_stream_gives_each_of_many_points_once(store: QdrantStore, name: str) -> None:
    """More points than a page or a batch holds come back complete, each with its document."""
    document = uuid4()
    points = make_points(["a text"] * 2345, document=document)
    await store.upsert(name, points)

    pairs = await read_ids(store, name)

    assert len(pairs) == len(points)
    assert set(pairs) == {(point, document) for point in points.ids}


async def test_points_come_whole_and_in_the_order_of_their_ids(store: QdrantStore, name: str) -> None:
    """Page after page, numbers before UUIDs; each point with its payload and its vector."""
    points = make_points(["a text"] * 345, document=uuid4())
    await store.upsert(name, points)
    by_id = dict(zip(points.ids, points.vectors, strict=True))

    pages = await read_pages(store, name)

    ids = [point for page in pages for point in page.ids]
    assert [len(page) for page in pages] == [100, 100, 100, 45]
    assert ids == sorted(points.ids)
    assert all(payload == points.payloads[0] for page in pages for payload in page.payloads)
    assert all(
        np.array_equal(vector, by_id[point])
        for page in pages
        for point, vector in zip(page.ids, page.vectors, strict=True)
        if isinstance(point, UUID)
    )


async def test_points_are_retrieved_by_their_ids(store: QdrantStore, name: str) -> None:
    """Those that exist come with payload and vector; the others are left out."""
    points = make_points(WHALES)
    await store.upsert(name, points)

    found = await store.retrieve_points(name, [points.ids[1], uuid4()], dimension=DIMENSION)

    assert list(found.ids) == [points.ids[1]]
    assert found.payloads == [points.payloads[1]]
    assert np.array_equal(found.vectors[0], points.vectors[1])


async def test_points_of_somebody_else_are_seen_and_can_go(store: QdrantStore, address: Address, name: str) -> None:
    """A numbered point without payload or dense vector comes first, as NaN, and is deleted by its number."""
    await store.upsert(name, make_points(WHALES))
    async with address.open_raw() as raw:
        body = {"points": [{"id": 7, "vector": {}}]}
        answer = await raw.put(f"/collections/{name}/points", params={"wait": "true"}, json=body)

    (page,) = await read_pages(store, name)
    await store.delete_points(name, [7])

    assert answer.status_code == 200
    assert page.ids[0] == 7
    assert page.payloads[0] == {}
    assert np.isnan(page.vectors[0]).all()
    assert not np.isnan(page.vectors[1:]).any()
    assert await store.count(name) == len(WHALES)


async def test_nothing_to_stream_or_retrieve_is_no_error(store: QdrantStore, name: str) -> None:
    """An empty collection gives no page, and no ids give no points."""
    pages = await read_pages(store, name)
    found = await store.retrieve_points(name, [], dimension=DIMENSION)

    assert pages == []
    assert len(found) == 0


async def test_delete_points_ignores_unknown_ids(store: QdrantStore, name: str) -> None:
    """Exactly the named points go."""
    points = make_points(WHALES)
    await store.upsert(name, points)

    await store.delete_points(name, [points.ids[0], uuid4()])

    assert {point for point, _ in await read_ids(store, name)} == set(points.ids[1:])


async def test_delete_documents_keeps_what_it_is_told_to(store: QdrantStore, name: str) -> None:
    """All points of the named documents go, except the kept ones; other documents stay."""
    first, second, third = (make_points(WHALES) for _ in range(3))
    for points in (first, second, third):
        await store.upsert(name, points)
    documents = [UUID(points.payloads[0]["document_id"]) for points in (first, second)]

    await store.delete_documents(name, documents, keep=[first.ids[1]])

    assert {point for point, _ in await read_ids(store, name)} == {first.ids[1], *third.ids}


async def test_vectors_come_back_as_float32(store: QdrantStore, name: str) -> None:
    """Vectors of the points that exist, and no entry for others."""
    points = make_points(WHALES)
    await store.upsert(name, points)

    found = await store.retrieve_points(name, [*points.ids, uuid4()], dimension=DIMENSION)

    assert set(found.ids) == set(points.ids)
    assert found.vectors.dtype == np.float32
    assert found.vectors.shape == (len(points.ids), DIMENSION)


async def test_wrong_dimension_is_refused(store: QdrantStore, name: str) -> None:
    """A vector of another dimension is refused for good, in points and in questions."""
    points = make_points(WHALES)
    wrong = type(points)(ids=points.ids, vectors=points.vectors[:, :4], texts=points.texts, payloads=points.payloads)

    with pytest.raises(VectorStoreRejectedError):
        await store.upsert(name, wrong)
    with pytest.raises(VectorStoreRejectedError):
        await store.search(name, PointQuery(mode=SearchMode.DENSE, vector=axis(0)[:4]))

    assert await store.count(name) == 0


async def test_not_a_number_is_refused(store: QdrantStore, name: str) -> None:
    """A vector with NaN is never stored and never asked with."""
    points = make_points(WHALES)
    points.vectors[1, 2] = np.nan

    with pytest.raises(VectorStoreRejectedError):
        await store.upsert(name, points)
    with pytest.raises(VectorStoreRejectedError):
        await store.search(name, PointQuery(mode=SearchMode.DENSE, vector=points.vectors[1]))

    assert await store.count(name) == 0


async def test_names_that_are_not_utf8_can_be_stored_and_found(store: QdrantStore, name: str) -> None:
    """A path or a text with bytes that are no UTF-8 costs nothing but those bytes."""
    points = make_points(["Whales \udce9 sing"], path="b\udce9e/whales.md")
    await store.upsert(name, points)

    found = await store.search(name, ask(SearchMode.HYBRID, only=SearchFilter(folders=("b\udce9e",))))

    assert [point.id for point in found] == list(points.ids)


# --- search -------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("mode", SearchMode)
async def test_best_point_comes_first(store: QdrantStore, name: str, *, mode: SearchMode, exact: bool) -> None:
    """Every mode finds the right point first, with its document and falling scores."""
    points = make_points(WHALES)
    await store.upsert(name, points)

    found = await store.search(name, ask(mode, exact=exact))

    scores = [point.score for point in found]
    assert found[0].id == points.ids[0]
    assert str(found[0].document_id) == points.payloads[0]["document_id"]
    assert scores == sorted(scores, reverse=True)


async def test_words_are_found_by_their_stem_and_only_they(store: QdrantStore, name: str) -> None:
    """Word search gives the points that share a word, in any of its forms, and no others."""
    points = make_points(WHALES)
    await store.upsert(name, points)

    found = await store.search(name, PointQuery(mode=SearchMode.BM25, text="A ROCKET leaving"))
    nothing = await store.search(name, PointQuery(mode=SearchMode.BM25, text="the"))

    assert [point.id for point in found] == [points.ids[1]]
    assert nothing == []


async def test_fusion_adds_reciprocal_ranks(store: QdrantStore, name: str) -> None:
    """A point that is first in both lists scores 2 / (k + 1); k counts from rank 0 or 1, but is the one asked for."""
    points = make_points(WHALES)
    await store.upsert(name, points)

    scores = {}
    for k in (10, 60):
        query = PointQuery(mode=SearchMode.HYBRID, text="whales", vector=axis(0), fusion_k=k)
        scores[k] = (await store.search(name, query))[0].score

    assert scores[10] in (pytest.approx(2 / 10, abs=1e-3), pytest.approx(2 / 11, abs=1e-3))
    assert scores[60] in (pytest.approx(2 / 60, abs=1e-4), pytest.approx(2 / 61, abs=1e-4))


@pytest.mark.parametrize("mode", SearchMode)
async def test_limit_is_kept(store: QdrantStore, name: str, mode: SearchMode) -> None:
    """No more points than asked for."""
    await store.upsert(name, make_points(["whales sing"] * 30))

    assert len(await store.search(name, ask(mode, limit=7))) == 7


FILTERS = {
    "source": (SearchFilter(source_ids=(UUID(int=1),)), {"sea", "sky"}),
    "document": (SearchFilter(document_ids=(UUID(int=11), UUID(int=13))), {"sea", "notes"}),
    "folder": (SearchFilter(folders=("guides",)), {"sea", "sky"}),
    "folder_with_slashes": (SearchFilter(folders=("/guides/sea/",)), {"sea"}),
    "folders_are_alternatives": (SearchFilter(folders=("guides/sea", "notes")), {"sea", "notes"}),
    "not_the_beginning_of_a_name": (SearchFilter(folders=("guide",)), set()),
    "file": (SearchFilter(folders=("notes/c.txt",)), {"notes"}),
    "type": (SearchFilter(file_types=(".TXT",)), {"notes", "sky"}),
    "fields_add_up": (SearchFilter(folders=("guides",), file_types=("txt",)), {"sky"}),
}


@pytest.mark.parametrize("case", FILTERS)
async def test_filter_restricts_every_mode_and_counts(store: QdrantStore, name: str, case: str) -> None:
    """A filter leaves exactly the points that fit, in all modes, and counts them."""
    only, expected = FILTERS[case]
    places = {"sea": (11, 1, "guides/sea/a.md"), "sky": (12, 1, "guides/sky/b.txt"), "notes": (13, 2, "notes/c.txt")}
    owner: dict[UUID, str] = {}
    for place, (document, source, path) in places.items():
        points = make_points(WHALES, document=UUID(int=document), source=UUID(int=source), path=path)
        owner.update(dict.fromkeys(points.ids, place))
        await store.upsert(name, points)

    answers: list[list[ScoredPoint]] = [await store.search(name, ask(mode, only=only)) for mode in SearchMode]

    assert [{owner[point.id] for point in answer} for answer in answers] == [expected] * len(SearchMode)
    assert await store.count(name, only) == len(expected) * len(WHALES)


# --- availability -------------------------------------------------------------------------------


async def test_server_that_is_away_is_unavailable() -> None:
    """A refused connection is transient in every kind of call, and the store is not ready."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = QdrantStore(f"http://127.0.0.1:{unused.getsockname()[1]}", api_key="key", timeout_seconds=2)

        with pytest.raises(VectorStoreUnavailableError):
            await store.upsert("any", make_points(WHALES))
        with pytest.raises(VectorStoreUnavailableError):
            await store.count("any")
        ready = await store.is_ready()

        await store.aclose()
    assert not ready


async def test_server_that_never_answers_is_unavailable() -> None:
    """A connection that stays silent ends with the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = QdrantStore(f"http://127.0.0.1:{silent.getsockname()[1]}", api_key=None, timeout_seconds=1)

        with pytest.raises(VectorStoreUnavailableError):
            await store.upsert("any", make_points(WHALES))
        with pytest.raises(VectorStoreUnavailableError):
            await store.list_collections()

        await store.aclose()


async def test_store_is_ready(store: QdrantStore) -> None:
    """A store that answers is ready."""
    assert await store.is_ready()


async def test_payload_is_set_on_all_points_of_documents(store: QdrantStore, name: str) -> None:
    """Fields that are named change, others stay, other documents too; a field may have several values."""
    documents, left = [UUID(int=1), UUID(int=2)], UUID(int=3)
    for document in (*documents, left):
        await store.upsert(name, make_points(WHALES, document=document))
    sources = [str(UUID(int=7)), str(UUID(int=8))]

    await store.set_payload(name, documents, {"source_id": sources})

    [page] = await read_pages(store, name)
    changed = {payload["document_id"]: payload["source_id"] for payload in page.payloads}
    assert [changed[str(document)] for document in documents] == [sources, sources]
    assert changed[str(left)] not in (sources, *sources)
    assert {payload["file_type"] for payload in page.payloads} == {"md"}
    for source in sources:
        assert await store.count(name, SearchFilter(source_ids=(UUID(source),))) == 2 * len(WHALES)
