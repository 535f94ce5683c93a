"""Points of the vector store and questions asked of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.domain.index_settings import IndexSettings
from app.domain.sparse_settings import SparseSettings

Vectors = NDArray[np.float32]
PointId = UUID | int
"""Ours are UUIDs; somebody else's points may have numbers."""


class SearchMode(StrEnum):
    """How hits are found: by meaning, by words, or by both."""

    DENSE = "dense"
    BM25 = "bm25"
    HYBRID = "hybrid"


class Fusion(StrEnum):
    """How the two rankings of a hybrid search become one: by reciprocal ranks, or by normalised scores."""

    RRF = "rrf"
    DBSF = "dbsf"


@dataclass(frozen=True, slots=True, kw_only=True)
class PointBatch:
    """Points to write, column by column; all columns have the same length n.

    Attributes:
        ids: point ids.
        vectors: float32, shape ``(n, dimension)``, written to the named vector ``dense``.
        texts: written to the named sparse vector ``bm25`` by the engine's own BM25 inference.
        sparse: how that weighs words and tells them apart.
        payloads: JSON objects with the indexed keys ``document_id``, ``source_id``, ``file_type`` and
            ``folders`` (every ancestor folder of the document's path, and the path itself).
    """

    ids: Sequence[UUID]
    vectors: Vectors
    texts: Sequence[str]
    payloads: Sequence[dict[str, Any]]
    sparse: SparseSettings = field(default_factory=SparseSettings)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPoints:
    """Points as the store gives them back, column by column.

    Attributes:
        ids: point ids.
        vectors: float32, shape ``(n, dimension)``: the named vector ``dense``. A point without one, or with one that
            has another length or holds no numbers, has a row of NaN.
        payloads: whatever is stored; an empty object where there is nothing.
    """

    ids: Sequence[PointId]
    vectors: Vectors
    payloads: Sequence[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, part: slice) -> "StoredPoints":
        """Some of the points."""
        return StoredPoints(ids=self.ids[part], vectors=self.vectors[part], payloads=self.payloads[part])


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFilter:
    """Restricts a search; an empty field restricts nothing, values of one field are alternatives."""

    source_ids: tuple[UUID, ...] = ()
    document_ids: tuple[UUID, ...] = ()
    folders: tuple[str, ...] = ()
    file_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PointQuery:
    """One question to the vector store.

    Attributes:
        mode: ``dense`` needs ``vector``, ``bm25`` needs ``text``, ``hybrid`` needs both.
        vector: float32, shape ``(dimension,)``.
        limit: most points returned, best first.
        prefetch: in hybrid mode, how many points of each kind are fused.
        fusion_k: the constant k of reciprocal rank fusion.
        dense_weight, bm25_weight: of each kind in reciprocal rank fusion; their ratio counts, and not both are 0. A
            rank of a kind with the weight w counts as rank / w, where both weights together are 2.
        score_threshold: points with a lower score are left out.
        exact: bypass any approximate index, and compare whole vectors only.
        hnsw_ef: how many points an approximate search keeps in sight; None leaves it to the store.
        oversampling: where vectors are quantised, how many times ``limit`` points are compared by their whole vectors.
        sparse: as the points that are searched were written with.
    """

    mode: SearchMode
    text: str | None = None
    vector: Vectors | None = None
    limit: int = 10
    prefetch: int = 100
    fusion: Fusion = Fusion.RRF
    fusion_k: int = 60
    dense_weight: float = 1.0
    bm25_weight: float = 1.0
    score_threshold: float | None = None
    exact: bool = False
    hnsw_ef: int | None = None
    oversampling: float | None = None
    filter: SearchFilter = field(default_factory=SearchFilter)
    sparse: SparseSettings = field(default_factory=SparseSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPoint:
    """A point that answers a query; a higher score is better."""

    id: UUID
    score: float
    document_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A document that answers a query, and its best chunk; documents come best first, each once."""

    document_id: UUID
    chunk_id: UUID
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCollection:
    """A physical collection as the vector store describes it. Its ``index`` knows no ``ef_search``."""

    name: str
    dimension: int
    has_sparse: bool
    points: int
    status: str
    index: IndexSettings = field(default_factory=IndexSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The larger span of a document that a chunk belongs to."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One document of an answer, shown by its best chunk. ``highlights`` are spans of ``text``, in characters.

    ``headings`` are those over the chunk, outermost first; ``parent`` is there if chunks are children of larger ones.
    """

    rank: int
    score: float
    uri: str
    path: str
    document_id: UUID
    chunk_id: UUID
    title: str | None
    text: str
    start: int
    end: int
    highlights: list[tuple[int, int]]
    headings: tuple[str, ...] = ()
    parent: Parent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchAnswer:
    """Hits, best first, and how they were found."""

    mode: SearchMode
    took_ms: float
    generation: str
    hits: list[Hit]
