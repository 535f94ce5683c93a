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
from tests.search.conftest import DOCUMENTS, Index


class Searched:
    """The collection of the index with a service of its own."""

    def __init__(self, index: Index) -> None:
        self.parts = index.api.parts
        self._index = index
        self.service = SearchService(
            self.parts.database, self.parts.store, EmbedderRegistry(self.parts.settings, None).find
        )

    async def find(self) -> tuple[Collection, Generation]:
        """The collection and its active generation."""
        async with self.parts.database.begin() as connection:
            repository = CollectionRepository(connection)
            collection, generation, _ = await repository.get_searched(self._index.api.user_id, self._index.name)
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
    """The index of this folder."""
    return Searched(index)


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
