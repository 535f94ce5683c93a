"""What a search of a real index finds, and in which order."""

from uuid import uuid4

import numpy as np
import pytest

from app.bootstrap import EmbedderRegistry
from app.db.collections import CollectionRepository
from app.domain.collections import Collection, Generation
from app.domain.points import Hit, PointBatch, Ranked, SearchMode, Vectors
from app.domain.search_settings import SearchSettings
from app.search.service import SearchService
from tests.search.conftest import COPIES, DOCUMENTS, Index


class Searched:
    """A collection with a service of its own."""

    def __init__(self, index: Index, name: str) -> None:
        self.parts = index.api.parts
        self._user_id = index.api.user_id
        self._name = name
        self.service = SearchService(
            self.parts.database, self.parts.store, EmbedderRegistry(self.parts.settings, None).find
        )

    async def find(self) -> tuple[Collection, Generation]:
        """The collection and its active generation."""
        async with self.parts.database.begin() as connection:
            repository = CollectionRepository(connection)
            collection, generation, _ = await repository.get_searched(self._user_id, self._name)
        assert generation is not None
        return collection, generation

    async def embed(self, query: str) -> Vectors:
        """The vector of a query."""
        return await self.service.embed_query((await self.find())[1], query)

    async def rank(self, query: str, settings: SearchSettings, *, limit: int = 10) -> list[Ranked]:
        """What the service ranks."""
        vector = await self.embed(query)
        return await self.service.rank(*await self.find(), query=query, vector=vector, settings=settings, limit=limit)

    async def show(self, query: str, settings: SearchSettings, *, limit: int = 10) -> list[Hit]:
        """What the service shows."""
        vector = await self.embed(query)
        return await self.service.find_hits(
            *await self.find(), query=query, vector=vector, settings=settings, limit=limit
        )


@pytest.fixture
def searched(index: Index) -> Searched:
    """Animals and what they live in."""
    return Searched(index, index.name)


@pytest.fixture
def copies(index: Index) -> Searched:
    """Texts of which most say the same."""
    return Searched(index, index.copies)


@pytest.mark.parametrize("mode", SearchMode)
@pytest.mark.parametrize("limit", [2, 10])
async def test_what_is_ranked_is_what_is_shown(searched: Searched, mode: SearchMode, limit: int) -> None:
    """The same documents by the same chunks, in the same order, with the same scores."""
    settings = SearchSettings(mode=mode)

    ranked = await searched.rank("whales ocean", settings, limit=limit)
    shown = await searched.show("whales ocean", settings, limit=limit)

    assert [(one.document_id, one.chunk_id, one.score) for one in ranked] == [
        (hit.document_id, hit.chunk_id, hit.score) for hit in shown
    ]
    assert len(ranked) == min(limit, len(DOCUMENTS))
    assert [hit.rank for hit in shown] == list(range(1, len(shown) + 1))


async def test_equal_scores_come_in_the_same_order_every_time(searched: Searched) -> None:
    """The store has them in an order of chance."""
    answers = [await searched.rank("whales ocean", SearchSettings()) for _ in range(20)]

    assert len(answers[0]) > len({one.score for one in answers[0]})
    assert all(answer == answers[0] for answer in answers)


async def test_points_that_the_manifest_does_not_know_are_not_ranked(searched: Searched) -> None:
    """However near they are, and also if so many come first that the store must be asked for more."""
    _, generation = await searched.find()
    vector = await searched.embed("whales ocean")
    ids, document = [uuid4() for _ in range(60)], str(uuid4())
    stray = PointBatch(
        ids=ids,
        vectors=np.tile(vector, (len(ids), 1)),
        texts=["whales ocean"] * len(ids),
        payloads=[{"document_id": document, "source_id": document, "file_type": "txt", "folders": []}] * len(ids),
    )
    settings = SearchSettings(mode=SearchMode.DENSE)
    before = await searched.rank("whales ocean", settings)

    await searched.parts.store.upsert(generation.name, stray)
    try:
        after = await searched.rank("whales ocean", settings)
    finally:
        await searched.parts.store.delete_points(generation.name, ids)

    assert after == before
    assert len(after) == len(DOCUMENTS)


@pytest.mark.parametrize("mode", SearchMode)
async def test_diversity_spreads_near_duplicates(copies: Searched, mode: SearchMode) -> None:
    """Without it six copies come first; with it what says something else comes before the second copy."""
    query = "when does the ferry to the island leave"

    usual = await copies.show(query, SearchSettings(mode=mode))
    spread = await copies.show(query, SearchSettings(mode=mode, diversity=0.7))
    ranked = await copies.rank(query, SearchSettings(mode=mode, diversity=0.7), limit=3)

    assert {hit.path for hit in usual[:6]} == {path for path in COPIES if path.startswith("notice")}
    assert [hit.path.startswith("notice") for hit in spread[:3]] == [True, False, False]
    assert {hit.path for hit in spread} == set(COPIES)
    assert [hit.score for hit in spread] == sorted((hit.score for hit in spread), reverse=True)
    assert [one.document_id for one in ranked] == [hit.document_id for hit in spread[:3]]


async def test_a_threshold_is_of_relevance_also_where_diversity_orders(copies: Searched) -> None:
    """What is not relevant enough is not chosen for being different."""
    query = "when does the ferry to the island leave"
    dense = await copies.show(query, SearchSettings(mode=SearchMode.DENSE))
    threshold = (dense[5].score + dense[6].score) / 2
    settings = SearchSettings(mode=SearchMode.DENSE, diversity=0.7, score_threshold=threshold)

    spread = await copies.show(query, settings)

    assert {hit.path for hit in spread} == {path for path in COPIES if path.startswith("notice")}


async def test_candidates_bound_what_a_hybrid_search_can_find(searched: Searched) -> None:
    """One of each ranking makes two documents at most."""
    few = await searched.rank("rockets burn fuel", SearchSettings(candidates=1))
    all_of_them = await searched.rank("rockets burn fuel", SearchSettings())

    assert 1 <= len(few) <= 2
    assert len(all_of_them) == len(DOCUMENTS)
