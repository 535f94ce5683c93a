"""Answers one query over one collection."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from uuid import UUID

from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.documents import DocumentRepository, HitRow
from app.domain.collections import Collection, Generation
from app.domain.errors import CollectionNotReadyError, EmbedderDimensionError, GenerationMissingError
from app.domain.index_settings import IndexSettings
from app.domain.points import Hit, Parent, PointQuery, ScoredPoint, SearchAnswer, SearchFilter, SearchMode, Vectors
from app.domain.ports import Embedder, VectorStore
from app.embedders.fingerprint import check_canaries
from app.search.highlight import find_highlights
from app.search.recorder import FollowedSearch, SearchRecorder

POINTS_PER_HIT = 4
FEWEST_POINTS = 40
MOST_POINTS = 2000


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
    """

    def __init__(
        self,
        database: Database,
        store: VectorStore,
        find_embedder: Callable[[str], Embedder],
        recorder: SearchRecorder | None = None,
    ) -> None:
        self._database = database
        self._store = store
        self._find_embedder = find_embedder
        self._recorder = recorder
        self._guard = ModelGuard()

    async def search(
        self,
        user_id: UUID,
        id_or_name: str,
        *,
        query: str,
        mode: SearchMode,
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
        followed = FollowedSearch(user_id=user_id, query=query, mode=mode, limit=limit)
        with nullcontext() if self._recorder is None else self._recorder.following(followed):
            async with self._database.single() as connection:
                searched = await CollectionRepository(connection).get_searched(user_id, id_or_name)
            collection, generation, followed.log = searched
            if generation is None:
                raise CollectionNotReadyError(collection.name)
            followed.generation = generation
            vector = None if mode is SearchMode.BM25 else await self.embed_query(generation, query)
            hits = await self.find_hits(
                collection, generation, query=query, vector=vector, mode=mode, limit=limit, filter=filter
            )
            followed.hits = len(hits)
        took = (time.perf_counter() - started) * 1000
        return SearchAnswer(mode=mode, took_ms=round(took, 3), generation=generation.name, hits=hits)

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

    async def find_hits(
        self,
        collection: Collection,
        generation: Generation,
        *,
        query: str,
        vector: Vectors | None,
        mode: SearchMode,
        limit: int,
        filter: SearchFilter | None = None,  # noqa: A002 — the field's standard term
    ) -> list[Hit]:
        """The best documents of one generation, which need not be the active one.

        ``vector`` is that of the query, by the generation's own model; None in mode ``bm25``.
        """
        restrict = filter or SearchFilter()
        points = min(max(limit * POINTS_PER_HIT, FEWEST_POINTS), MOST_POINTS)
        hits: list[Hit] = []
        index = IndexSettings.from_config(generation.index_settings)
        while True:
            scored = await self._ask(
                collection,
                generation,
                PointQuery(
                    mode=mode,
                    text=query,
                    vector=vector,
                    limit=points,
                    prefetch=max(points, 100),
                    hnsw_ef=index.ef_search,
                    oversampling=index.oversampling,
                    filter=restrict,
                ),
            )
            hits = await self._show(collection.id, generation, scored, query=query, limit=limit)
            if len(hits) == limit or len(scored) < points or points == MOST_POINTS:
                break
            points = min(points * POINTS_PER_HIT, MOST_POINTS)
        return hits

    async def _ask(self, collection: Collection, generation: Generation, query: PointQuery) -> list[ScoredPoint]:
        try:
            return await self._store.search(generation.name, query)
        except GenerationMissingError:
            async with self._database.begin() as connection:
                # it may have been deleted at this moment
                await CollectionRepository(connection).get(collection.user_id, collection.id)
            raise

    async def _show(
        self, collection_id: UUID, generation: Generation, scored: Sequence[ScoredPoint], *, query: str, limit: int
    ) -> list[Hit]:
        async with self._database.single() as connection:
            manifest = DocumentRepository(connection, collection_id)
            best = best_of_each(scored, limit=limit)
            rows = await manifest.load_hits(generation.id, best)
            if len(rows) < len(best):
                rows = await manifest.load_hits(generation.id, [point.id for point in scored])
            hits = roll_up(scored, rows, query=query, limit=limit)
            return await add_parents(hits, rows, manifest, generation.id)


def best_of_each(scored: Sequence[ScoredPoint], *, limit: int) -> list[UUID]:
    """The best point of each of the best documents: all that is shown if the manifest knows them."""
    best: dict[UUID, UUID] = {}
    for point in scored:
        best.setdefault(point.document_id, point.id)
    return list(best.values())[:limit]


def roll_up(scored: Sequence[ScoredPoint], rows: dict[UUID, HitRow], *, query: str, limit: int) -> list[Hit]:
    """One hit a document, by its best point; points the manifest does not know are left out."""
    hits: list[Hit] = []
    seen: set[UUID] = set()
    for point in scored:
        row = rows.get(point.id)
        if row is None or row.document_id in seen:
            continue
        seen.add(row.document_id)
        hits.append(
            Hit(
                rank=len(hits) + 1,
                score=point.score,
                uri=row.uri,
                path=row.path,
                document_id=row.document_id,
                chunk_id=row.id,
                title=row.title,
                text=row.text,
                start=row.start,
                end=row.end,
                highlights=find_highlights(row.text, query),
                headings=row.headings,
            )
        )
        if len(hits) == limit:
            break
    return hits


async def add_parents(
    hits: Sequence[Hit], rows: dict[UUID, HitRow], manifest: DocumentRepository, generation_id: UUID
) -> list[Hit]:
    """The same hits; those whose chunk has a parent with that."""
    shown = [rows[hit.chunk_id] for hit in hits]
    places = [(row.document_id, row.parent_start) for row in shown if row.parent_start is not None]
    if not places:
        return list(hits)
    texts = await manifest.load_parents(generation_id, places)
    return [replace(hit, parent=_find_parent(rows[hit.chunk_id], texts)) for hit in hits]


def _find_parent(row: HitRow, texts: dict[tuple[UUID, int], str]) -> Parent | None:
    if row.parent_start is None or row.parent_end is None:
        return None
    text = texts.get((row.document_id, row.parent_start))
    return None if text is None else Parent(text=text, start=row.parent_start, end=row.parent_end)
