"""Ranks the documents of one generation for one query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import numpy as np

from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.hits import HitRepository, HitRow
from app.domain.collections import Collection, Generation
from app.domain.documents import embedded_text
from app.domain.errors import GenerationMissingError
from app.domain.index_settings import IndexSettings
from app.domain.points import PointQuery, Ranked, ScoredPoint, SearchFilter, Vectors
from app.domain.ports import Reranker, VectorStore
from app.domain.reranker_errors import RerankerMissingError
from app.domain.search_settings import SearchSettings
from app.search.diversity import pick_diverse

POINTS_PER_DOCUMENT = 4
FEWEST_POINTS = 40
MOST_POINTS = 2000
FEWEST_CANDIDATES = 100
DIVERSIFIED = 100
"""Documents among which diversity chooses, however few are shown: the first ten of 100 are the first ten of ten."""
GAP = 1.0
"""Between the last score of documents that were ordered anew and the first one of those that were not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A query to one generation; ``vector`` is that of the query, None in mode ``bm25``."""

    collection: Collection
    generation: Generation
    query: str
    vector: Vectors | None
    settings: SearchSettings
    limit: int
    filter: SearchFilter = field(default_factory=SearchFilter)

    @property
    def depth(self) -> int:
        """How many documents are retrieved."""
        return max(self.limit, self.reordered)

    @property
    def reordered(self) -> int:
        """How many of the first documents are read again, or spread."""
        if self.settings.rerank:
            return self.settings.rerank_depth
        return 0 if self.settings.diversity is None else DIVERSIFIED

    def ask_for(self, points: int) -> PointQuery:
        """What the vector store is asked."""
        index, settings = IndexSettings.from_config(self.generation.index_settings), self.settings
        return PointQuery(
            mode=settings.mode,
            text=self.query,
            vector=self.vector,
            limit=points,
            prefetch=settings.candidates or max(points, FEWEST_CANDIDATES),
            fusion=settings.fusion,
            fusion_k=settings.fusion_k,
            dense_weight=settings.dense_weight,
            bm25_weight=settings.bm25_weight,
            # of what is reranked, the reranker's score counts
            score_threshold=None if settings.rerank else settings.score_threshold,
            hnsw_ef=index.ef_search,
            oversampling=index.oversampling,
            filter=self.filter,
            sparse=self.generation.sparse,
        )


class Chunks:
    """What the manifest knows of the chunks that answer a question.

    Args:
        with_texts: whether ``rows`` are kept, for those who show or compare them.
    """

    def __init__(self, database: Database, question: Question, *, with_texts: bool) -> None:
        self._database = database
        self._collection_id = question.collection.id
        self._generation_id = question.generation.id
        self._with_texts = with_texts
        self.rows: dict[UUID, HitRow] = {}

    async def find_documents(self, ids: Sequence[UUID]) -> dict[UUID, UUID]:
        """Which document each chunk is of; those that the manifest does not know are missing."""
        async with self._database.single() as connection:
            manifest = HitRepository(connection, self._collection_id)
            if not self._with_texts:
                return await manifest.find_chunks(self._generation_id, ids)
            rows = await manifest.load_hits(self._generation_id, ids)
        self.rows |= rows
        return {chunk: row.document_id for chunk, row in rows.items()}


class Ranker:
    """Finds and orders what answers a question."""

    def __init__(self, database: Database, store: VectorStore, reranker: Reranker | None = None) -> None:
        self._database = database
        self._store = store
        self._reranker = reranker

    async def rank(self, question: Question, chunks: Chunks) -> list[Ranked]:
        """The best documents that the manifest knows, best first, each by its best chunk.

        Raises:
            RerankerMissingError: if they are to be reranked, and there is no reranker.
        """
        if question.settings.rerank and self._reranker is None:
            raise RerankerMissingError
        ranked = await self._retrieve(question, chunks)
        if self._reranker is not None and question.settings.rerank:
            ranked = await self._rerank(question, chunks, ranked, by=self._reranker)
        if question.settings.diversity is not None:
            ranked = await self._diversify(question, ranked, diversity=question.settings.diversity)
        return ranked[: question.limit]

    async def _rerank(
        self, question: Question, chunks: Chunks, ranked: Sequence[Ranked], *, by: Reranker
    ) -> list[Ranked]:
        """By the best chunk of each, under its headings; with a threshold, what was not read is not shown."""
        first, others = ranked[: question.reordered], ranked[question.reordered :]
        rows = [chunks.rows[document.chunk_id] for document in first]
        texts = [embedded_text(row.text, row.headings) for row in rows]
        scores = await by.score(question.query, texts) if texts else []
        scored = [replace(document, score=score) for document, score in zip(first, scores, strict=True)]
        ordered = sorted(scored, key=lambda document: -document.score)
        least = question.settings.score_threshold
        if least is None:
            return append_below(ordered, others)
        return [document for document in ordered if document.score >= least]

    async def _diversify(self, question: Question, ranked: Sequence[Ranked], *, diversity: float) -> list[Ranked]:
        first, others = ranked[: question.reordered], ranked[question.reordered :]
        if not first:
            return []
        generation = question.generation
        ids = [document.chunk_id for document in first]
        stored = await self._store.retrieve_points(generation.name, ids, dimension=generation.dimension)
        rows = {point: row for row, point in enumerate(stored.ids)}
        vectors = np.full((len(ids), generation.dimension), np.nan, dtype=np.float32)
        for row, chunk in enumerate(ids):
            if chunk in rows:  # it may have been deleted at this moment
                vectors[row] = stored.vectors[rows[chunk]]
        relevance = np.array([document.score for document in first])
        picked = pick_diverse(relevance, vectors, diversity=diversity)
        return append_below([replace(first[row], score=score) for row, score in picked], others)

    async def _retrieve(self, question: Question, chunks: Chunks) -> list[Ranked]:
        wanted = question.depth
        points = min(max(wanted * POINTS_PER_DOCUMENT, FEWEST_POINTS), MOST_POINTS)
        while True:
            scored = await self._ask(question, points)
            documents = await chunks.find_documents(best_of_each(scored, limit=wanted))
            if len(documents) < wanted:
                documents = await chunks.find_documents([point.id for point in scored])
            ranked = roll_up(scored, documents, limit=wanted)
            if len(ranked) == wanted or len(scored) < points or points == MOST_POINTS:
                return ranked
            points = min(points * POINTS_PER_DOCUMENT, MOST_POINTS)

    async def _ask(self, question: Question, points: int) -> list[ScoredPoint]:
        try:
            scored = await self._store.search(question.generation.name, question.ask_for(points))
        except GenerationMissingError:
            async with self._database.begin() as connection:
                # it may have been deleted at this moment
                await CollectionRepository(connection).get(question.collection.user_id, question.collection.id)
            raise
        # the store has those of equal scores in an order of chance, which would be another one the next time
        return sorted(scored, key=lambda point: (-point.score, point.document_id, point.id))


def best_of_each(scored: Sequence[ScoredPoint], *, limit: int) -> list[UUID]:
    """The best point of each of the best documents: all that is shown if the manifest knows them."""
    best: dict[UUID, UUID] = {}
    for point in scored:
        best.setdefault(point.document_id, point.id)
    return list(best.values())[:limit]


def append_below(ordered: Sequence[Ranked], others: Sequence[Ranked]) -> list[Ranked]:
    """Both, the scores of the others moved so that they are lower; both are best first."""
    if not ordered or not others:
        return [*ordered, *others]
    fall = others[0].score - ordered[-1].score + GAP
    return [*ordered, *(replace(other, score=other.score - fall) for other in others)]


def roll_up(scored: Sequence[ScoredPoint], documents: Mapping[UUID, UUID], *, limit: int) -> list[Ranked]:
    """Each document once, by its best point; points that are not among ``documents`` are left out."""
    ranked: dict[UUID, Ranked] = {}
    for point in scored:
        document = documents.get(point.id)
        if document is None or document in ranked:
            continue
        ranked[document] = Ranked(document_id=document, chunk_id=point.id, score=point.score)
        if len(ranked) == limit:
            break
    return list(ranked.values())
