"""Answers one query over one collection."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from uuid import UUID

from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.hits import HitRepository, HitRow
from app.domain.collections import Collection, Generation
from app.domain.errors import CollectionNotReadyError, EmbedderDimensionError
from app.domain.points import Hit, Parent, Ranked, SearchAnswer, SearchFilter, SearchMode, Vectors
from app.domain.ports import Embedder, Reranker, VectorStore
from app.domain.search_settings import SearchSettings
from app.embedders.fingerprint import check_canaries
from app.search.highlight import find_highlights
from app.search.ranking import Chunks, Question, Ranker
from app.search.recorder import FollowedSearch, SearchRecorder


class ModelGuard:
    """Checks once per process and generation that a model still gives the vectors it gave."""

    def __init__(self) -> None:
        self._checked: set[UUID] = set()

    async def check(self, embedder: Embedder, generation: Generation) -> None:
        """Raises EmbedderChangedError."""
        if generation.id in self._checked:
            return
        await check_canaries(embedder, generation.canaries, dimension=generation.dimension)
        self._checked.add(generation.id)


class SearchService:
    """Searches the active generation with the model it was built with.

    Args:
        recorder: remembers searches; without one nothing of them is.
        reranker: without one a search that asks for it is refused.
    """

    def __init__(
        self,
        database: Database,
        store: VectorStore,
        find_embedder: Callable[[str], Embedder],
        recorder: SearchRecorder | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self._database = database
        self._ranker = Ranker(database, store, reranker)
        self._find_embedder = find_embedder
        self._recorder = recorder
        self._guard = ModelGuard()

    async def search(
        self,
        user_id: UUID,
        id_or_name: str,
        *,
        query: str,
        settings: SearchSettings,
        limit: int,
        filter: SearchFilter,  # noqa: A002 — the field's standard term
    ) -> SearchAnswer:
        """The best documents, each shown by its best chunk.

        Raises:
            CollectionNotFoundError: if the caller has no such collection.
            CollectionNotReadyError: if nothing is indexed yet.
            EmbedderChangedError: if the model is not the one the collection was built with.
        """
        started = time.perf_counter()
        followed = FollowedSearch(user_id=user_id, query=query, mode=settings.mode, limit=limit)
        with nullcontext() if self._recorder is None else self._recorder.following(followed):
            async with self._database.single() as connection:
                searched = await CollectionRepository(connection).get_searched(user_id, id_or_name)
            collection, generation, followed.log = searched
            if generation is None:
                raise CollectionNotReadyError(collection.name)
            followed.generation = generation
            vector = None if settings.mode is SearchMode.BM25 else await self.embed_query(generation, query)
            hits = await self.find_hits(
                collection, generation, query=query, vector=vector, settings=settings, limit=limit, filter=filter
            )
            followed.hits = len(hits)
        took = (time.perf_counter() - started) * 1000
        return SearchAnswer(mode=settings.mode, took_ms=round(took, 3), generation=generation.name, hits=hits)

    async def embed_query(self, generation: Generation, query: str) -> Vectors:
        """The vector of a query by a generation's own model, float32 of shape ``(dimension,)``.

        Raises:
            UnknownModelError: if this server does not have the model.
            EmbedderChangedError: if the model is not the one the generation was built with.
        """
        embedder = self._find_embedder(generation.model)
        await self._guard.check(embedder, generation)
        vector = await embedder.embed_query(query)
        if len(vector) != generation.dimension:
            raise EmbedderDimensionError(generation.model, expected=generation.dimension, actual=len(vector))
        return vector

    async def rank(
        self,
        collection: Collection,
        generation: Generation,
        *,
        query: str,
        vector: Vectors | None,
        settings: SearchSettings,
        limit: int,
    ) -> list[Ranked]:
        """The documents that ``find_hits`` shows, in its order."""
        question = Question(
            collection=collection, generation=generation, query=query, vector=vector, settings=settings, limit=limit
        )
        return await self._ranker.rank(question, Chunks(self._database, question, with_texts=settings.rerank))

    async def find_hits(
        self,
        collection: Collection,
        generation: Generation,
        *,
        query: str,
        vector: Vectors | None,
        settings: SearchSettings,
        limit: int,
        filter: SearchFilter | None = None,  # noqa: A002 — the field's standard term
    ) -> list[Hit]:
        """The best documents of one generation, which need not be the active one.

        ``vector`` is that of the query, by the generation's own model; None in mode ``bm25``.
        """
        question = Question(
            collection=collection,
            generation=generation,
            query=query,
            vector=vector,
            settings=settings,
            limit=limit,
            filter=filter or SearchFilter(),
        )
        chunks = Chunks(self._database, question, with_texts=True)
        ranked = await self._ranker.rank(question, chunks)
        parents = await self._load_parents(question, [chunks.rows[document.chunk_id] for document in ranked])
        return show_hits(ranked, chunks.rows, parents, query=query)

    async def _load_parents(self, question: Question, shown: Sequence[HitRow]) -> Mapping[tuple[UUID, int], str]:
        places = [(row.document_id, row.parent_start) for row in shown if row.parent_start is not None]
        if not places:
            return {}
        async with self._database.single() as connection:
            manifest = HitRepository(connection, question.collection.id)
            return await manifest.load_parents(question.generation.id, places)


def show_hits(
    ranked: Sequence[Ranked],
    rows: Mapping[UUID, HitRow],
    parents: Mapping[tuple[UUID, int], str],
    *,
    query: str,
) -> list[Hit]:
    """Documents with the texts of their chunks, and of the parents of those that have one."""
    hits = []
    for rank, document in enumerate(ranked, 1):
        row = rows[document.chunk_id]
        hits.append(
            Hit(
                rank=rank,
                score=document.score,
                uri=row.uri,
                path=row.path,
                document_id=document.document_id,
                chunk_id=document.chunk_id,
                title=row.title,
                text=row.text,
                start=row.start,
                end=row.end,
                highlights=find_highlights(row.text, query),
                headings=row.headings,
                parent=_find_parent(row, parents),
            )
        )
    return hits


def _find_parent(row: HitRow, texts: Mapping[tuple[UUID, int], str]) -> Parent | None:
    if row.parent_start is None or row.parent_end is None:
        return None
    text = texts.get((row.document_id, row.parent_start))
    return None if text is None else Parent(text=text, start=row.parent_start, end=row.parent_end)
