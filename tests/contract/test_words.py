"""How words are weighed and told apart, in points and in queries."""

import math
from dataclasses import replace
from uuid import UUID

import pytest

from app.domain.points import PointQuery, SearchMode
from app.domain.sparse_settings import LANGUAGES, SparseSettings
from app.stores.qdrant import QdrantStore
from tests.contract.conftest import Address
from tests.contract.vector_server import DIMENSION, make_points

TEXTS = ("whale " * 3 + "harbour ship", "whale " + "harbour " * 19, "bread oven")


async def fill(store: QdrantStore, name: str, *texts: str, sparse: SparseSettings) -> None:
    """Points with the ids 1, 2 and so on."""
    ids = [UUID(int=number + 1) for number in range(len(texts))]
    await store.upsert(name, replace(make_points(texts, ids=ids), sparse=sparse))


async def find(store: QdrantStore, name: str, query: str, sparse: SparseSettings) -> dict[int, float]:
    """Scores by the number of the point."""
    found = await store.search(name, PointQuery(mode=SearchMode.BM25, text=query, sparse=sparse))
    return {point.id.int: point.score for point in found}


def weigh(count: int, length: int, *, k: float, b: float, avg_len: float) -> float:
    """What BM25 gives a word that a text of some words has so many times, its rarity aside."""
    return count * (k + 1) / (count + k * (1 - b + b * length / avg_len))


@pytest.mark.parametrize(
    "settings",
    [{}, {"k": 0.4}, {"k": 3.0, "b": 0.0}, {"b": 1.0, "avg_len": 10.0}, {"k": 0.9, "b": 0.4, "avg_len": 20.0}],
)
async def test_constants_are_those_of_bm25(store: QdrantStore, name: str, settings: dict[str, float]) -> None:
    """Against its formula; without settings they are 1.2, 0.75 and 256."""
    sparse = SparseSettings(**settings)  # type: ignore[arg-type]  # numbers alone
    await fill(store, name, *TEXTS, sparse=sparse)
    constants = {"k": 1.2, "b": 0.75, "avg_len": 256.0, **settings}
    rarity = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))

    found = await find(store, name, "whales", sparse)

    expected = {1: rarity * weigh(3, 5, **constants), 2: rarity * weigh(1, 20, **constants)}
    assert found == pytest.approx(expected, rel=1e-3)


async def test_a_language_has_its_own_stems_and_stop_words(store: QdrantStore, name: str) -> None:
    """A German collection finds Häuser by Haus and leaves out der; an English query of it would not."""
    german = SparseSettings(language="german")
    await fill(store, name, "der Anbau vieler Kirschen", "der Wind", sparse=german)

    assert set(await find(store, name, "Kirsche", german)) == {1}
    assert await find(store, name, "der", german) == {}
    assert await find(store, name, "anbauen", SparseSettings()) == {}


async def test_without_a_language_words_are_as_they_stand(store: QdrantStore, name: str) -> None:
    """Neither stems nor stop words: for code, and for texts of many languages."""
    as_they_stand = SparseSettings(language="none", k=1.0)
    await fill(store, name, "the whales", "a whale", sparse=as_they_stand)

    assert set(await find(store, name, "whales", as_they_stand)) == {1}
    assert set(await find(store, name, "The", as_they_stand)) == {1}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_language_can_be_written_and_asked(store: QdrantStore, name: str, language: str) -> None:
    """The store knows all that we offer."""
    sparse = SparseSettings(language=language)
    await fill(store, name, "xylophon 123", sparse=sparse)

    assert set(await find(store, name, "123", sparse)) == {1}


WRONG = {
    "language": {"language": "klingon"},
    "no_name": {"language": 1},
    "too_much": {"b": 2},
    "less_than_nothing": {"k": -1},
    "no_length": {"avg_len": 0},
    "unknown": {"tokenizer": "whitespace"},
    "half_of_nothing": {"stemmer": {"type": "none"}},
    "both": {"language": "german", "stemmer": {"type": "none"}, "stopwords": {"languages": [], "custom": []}},
    "a_list": [1],
}


@pytest.mark.parametrize("case", WRONG)
async def test_the_embedded_server_refuses_what_it_does_not_do(
    store: QdrantStore, name: str, address: Address, case: str, request: pytest.FixtureRequest
) -> None:
    """In a point and in a query; a Qdrant server does more."""
    if "qdrant" in request.node.callspec.id:
        pytest.skip("a Qdrant server does more")
    words = {"text": "whales", "model": "qdrant/bm25", "options": WRONG[case]}
    point = {"id": 1, "vector": {"dense": [1.0] * DIMENSION, "bm25": words}, "payload": {}}

    async with address.open_raw() as client:
        written = await client.put(f"/collections/{name}/points", json={"points": [point]})
        asked = await client.post(f"/collections/{name}/points/query", json={"query": words, "using": "bm25"})

    assert (written.status_code, asked.status_code) == (400, 400)
    assert await store.count(name) == 0
