"""Scores of some results while a benchmark is under way, for those who watch it."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import numpy as np

from app.domain.benchmark_datasets import DatasetQuery
from app.domain.benchmarks import QueryResult
from app.domain.kept_mapping import KeptMapping
from app.evaluation.measures import Measure
from app.evaluation.metrics import NOBODY
from app.evaluation.scoring import score_rankings

ID_BYTES = 16


class PartialScores:
    """Scores by one measure. A query that nothing is relevant for has no score."""

    def __init__(self, queries: Sequence[DatasetQuery], mapping: KeptMapping, measure: Measure) -> None:
        self._measure = measure
        self._numbers: dict[bytes, int] = {}
        self._judged = [self._number(mapping.grades_of(query)) for query in queries]

    def _number(self, grades: Mapping[str, int]) -> dict[int, int]:
        return {
            self._numbers.setdefault(key_of(document), len(self._numbers)): grade for document, grade in grades.items()
        }

    def score(self, results: Sequence[QueryResult]) -> list[float]:
        """The values of those that can be judged."""
        depth = max((len(one.documents) // ID_BYTES for one in results), default=0)
        ranks = np.full((len(results), max(depth, 1)), NOBODY, dtype=np.int64)
        for row, one in zip(ranks, results, strict=True):
            found = split_ids(one.documents)
            # who is not judged needs a number of its own, and no more
            row[: len(found)] = [self._numbers.get(key, len(self._numbers) + place) for place, key in enumerate(found)]
        scored = score_rankings(ranks, [self._judged[one.number] for one in results], [self._measure])
        values = scored.by_measure[self._measure.name][scored.countable]
        return [float(value) for value in values]


def key_of(document: str) -> bytes:
    """16 bytes of a document's id; what is none has more of them, or fewer, or is the text itself."""
    try:
        return UUID(document).bytes
    except ValueError:
        return b"?" + document.encode("utf-8", "surrogatepass")


def split_ids(documents: bytes) -> list[bytes]:
    """Ids of 16 bytes each."""
    return [documents[start : start + ID_BYTES] for start in range(0, len(documents), ID_BYTES)]
