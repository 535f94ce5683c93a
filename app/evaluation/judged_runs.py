"""Runs of a benchmark with the judgments that they are scored by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.evaluation.measures import Measure
from app.evaluation.metrics import Ranks, Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentName:
    """A document by what people know it by; one that the collection does not have has no id."""

    id: str | None
    uri: str
    title: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As reports have it."""
        return {"id": self.id, "uri": self.uri, "title": self.title}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedQuery:
    """A query, and grades by the numbers of documents."""

    query_id: str
    text: str
    grades: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInput:
    """What one run has found.

    Attributes:
        ranks: document numbers, best first, shape ``(queries, depth)``, filled up with ``NOBODY``.
        latency_ms: shape ``(queries,)``, NaN where there is no answer.
        errors: by the numbers of queries that have none.
    """

    name: str
    settings: Mapping[str, Any]
    generation: str
    ranks: Ranks
    latency_ms: NDArray[np.float64]
    errors: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineValues:
    """What an earlier benchmark of the same queries has found: by run and measure, values in order of ``query_ids``."""

    benchmark_id: str
    runs: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Everything that is judged.

    Attributes:
        documents: by number.
        measures: among them the primary one.
        reasons: why a judged document cannot be found, by its number.
        width: how many documents each query asked for.
        are_grouped: whether queries were made of documents, so that those of one document are not independent.
        long: numbers of documents with a chunk that says too much to be found by one thing.
    """

    documents: Sequence[DocumentName]
    queries: Sequence[JudgedQuery]
    runs: Sequence[RunInput]
    measures: Sequence[Measure]
    primary: str
    seed: int
    reasons: Mapping[int, str] = field(default_factory=dict)
    long: frozenset[int] = frozenset()
    width: int = 100
    are_grouped: bool = False
    baseline: BaselineValues | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunValues:
    """Values of a run by measure, one for each query that something is relevant for."""

    name: str
    by_measure: Mapping[str, Scores]

    def to_dict(self, query_ids: Sequence[str]) -> dict[str, Any]:
        """As they are kept."""
        return {"query_ids": list(query_ids), **{name: values.tolist() for name, values in self.by_measure.items()}}
