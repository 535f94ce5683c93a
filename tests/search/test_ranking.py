"""What a search of a real index finds, and in which order."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import numpy as np
import pytest

from app.bootstrap import EmbedderRegistry
from app.db.collections import CollectionRepository
from app.domain.collections import Collection, Generation
from app.domain.documents import embedded_text
from app.domain.points import Hit, PointBatch, Ranked, SearchMode, Vectors
from app.domain.reranker_errors import RerankerMissingError, RerankerRejectedError, RerankerUnavailableError
from app.domain.search_settings import SearchSettings
from app.embedders.reranker import HttpReranker
from app.search.service import SearchService
from tests.reranker_server import FakeReranker
from tests.search.conftest import COPIES, DOCUMENTS, Index


class Searched:
    """A collection with a service of its own."""

    def __init__(self, index: Index, name: str, reranker: HttpReranker | None = None) -> None:
        self.parts = index.api.parts
        self._user_id = index.api.user_id
        self._name = name
        self.service = SearchService(
            self.parts.database, self.parts.store, EmbedderRegistry(self.parts.settings, None).find, reranker=reranker
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


@pytest.fixture
def server() -> Iterator[FakeReranker]:
    """A cross-encoder that counts words."""
    with FakeReranker().running() as running:
        yield running


@pytest.fixture
async def reread(index: Index, server: FakeReranker) -> AsyncIterator[Searched]:
    """The animals, with that cross-encoder."""
    reranker = HttpReranker(server.url, timeout_seconds=5)
    yield Searched(index, index.name, reranker)
    await reranker.aclose()


@pytest.mark.parametrize("mode", SearchMode)
async def test_a_reranker_has_the_last_word(reread: Searched, server: FakeReranker, mode: SearchMode) -> None:
    """Documents come in the order of its scores, which are shown; what is ranked is what is shown."""
    query = "whales live in the deep ocean"
    settings = SearchSettings(mode=mode, rerank=True)

    shown = await reread.show(query, settings)
    ranked = await reread.rank(query, settings, limit=3)

    assert len(shown) == len(DOCUMENTS)
    assert [hit.score for hit in shown] == sorted((hit.score for hit in shown), reverse=True)
    assert {text: server.score(query, text) for text in server.bodies[0]["texts"]} == {
        embedded_text(hit.text, hit.headings): hit.score for hit in shown
    }
    assert [(one.document_id, one.score) for one in ranked] == [(hit.document_id, hit.score) for hit in shown[:3]]


async def test_documents_below_the_depth_follow_as_they_were(reread: Searched, server: FakeReranker) -> None:
    """Three are read again; the others keep their order and come after them, with lower scores."""
    query = "whales live in the deep ocean"
    usual = await reread.rank(query, SearchSettings())

    ranked = await reread.rank(query, SearchSettings(rerank=True, rerank_depth=3))

    assert [len(body["texts"]) for body in server.bodies] == [3]
    assert {one.document_id for one in ranked[:3]} == {one.document_id for one in usual[:3]}
    assert [one.document_id for one in ranked[3:]] == [one.document_id for one in usual[3:]]
    assert [one.score for one in ranked] == sorted((one.score for one in ranked), reverse=True)
    assert ranked[3].score < ranked[2].score


async def test_a_threshold_is_of_the_rerankers_scores(reread: Searched) -> None:
    """What it did not read has none, so it is not shown."""
    query = "whales live in the deep ocean"
    settings = SearchSettings(rerank=True, rerank_depth=4, score_threshold=0.3)

    ranked = await reread.rank(query, settings)

    assert 0 < len(ranked) <= 4
    assert all(one.score >= 0.3 for one in ranked)


async def test_what_is_reranked_can_be_spread(reread: Searched) -> None:
    """The reranker's scores are the relevance then, and the documents are the same."""
    query = "whales live in the deep ocean"
    usual = await reread.rank(query, SearchSettings(rerank=True))

    spread = await reread.rank(query, SearchSettings(rerank=True, diversity=0.5))

    assert spread[0].document_id == usual[0].document_id
    assert {one.document_id for one in spread} == {one.document_id for one in usual}
    assert [one.score for one in spread] == sorted((one.score for one in spread), reverse=True)


@pytest.mark.parametrize("status", [503, 400])
async def test_a_reranker_that_fails_fails_the_search(reread: Searched, server: FakeReranker, status: int) -> None:
    """Nobody is shown an order that was not asked for."""
    server.statuses.append(status)

    with pytest.raises(RerankerUnavailableError if status == 503 else RerankerRejectedError):
        await reread.show("whales", SearchSettings(rerank=True))


async def test_a_search_that_asks_for_no_reranking_does_not_need_it(reread: Searched, server: FakeReranker) -> None:
    """It is not asked."""
    assert await reread.show("whales", SearchSettings())
    assert server.bodies == []


async def test_without_a_reranker_none_can_be_asked_for(searched: Searched) -> None:
    """The error names the setting."""
    with pytest.raises(RerankerMissingError, match="VECLOOM_RERANKER_URL"):
        await searched.rank("whales", SearchSettings(rerank=True))
