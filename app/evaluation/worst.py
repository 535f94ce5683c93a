"""The queries that a run does worst at: what was expected, what was found, and why."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.evaluation.judged_runs import Evaluation, RunInput
from app.evaluation.metrics import NOBODY, Scores

SHOWN = 20
EXPECTED = 10
FOUND = 5
FIRST = 10
"""Ranks that people look at."""
QUERY_CHARACTERS = 300
FILTERS = frozenset({"score_threshold", "candidates"})
"""Settings that leave documents out that would have been found."""


def describe_worst(
    evaluation: Evaluation, run: RunInput, values: Scores, countable: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Lowest values first; queries that are answered as well as can be are none of them."""
    numbers = np.flatnonzero(countable)
    order = [place for place in np.argsort(values, kind="stable")[:SHOWN] if values[place] < 1]
    return [_describe(evaluation, run, int(numbers[place]), float(values[place])) for place in order]


def _describe(evaluation: Evaluation, run: RunInput, number: int, value: float) -> dict[str, Any]:
    query = evaluation.queries[number]
    ranks = {int(document): rank for rank, document in reversed(list(enumerate(run.ranks[number], 1)))}
    ranks.pop(NOBODY, None)
    expected = sorted(
        (-grade, ranks.get(document, len(ranks) + 1), document) for document, grade in query.grades.items() if grade > 0
    )
    found = [int(document) for document in run.ranks[number][:FOUND] if document != NOBODY]
    return {
        "query_id": query.query_id,
        "query": query.text[:QUERY_CHARACTERS],
        "value": round(value, 5),
        "relevant": len(expected),
        "expected": [
            {
                "document": evaluation.documents[document].to_dict(),
                "grade": -negative,
                "rank": ranks.get(document),
                "why": _find_why(evaluation, run, number, document, ranks.get(document)),
            }
            for negative, _, document in expected[:EXPECTED]
        ],
        "found": [
            {
                "rank": rank,
                "document": evaluation.documents[document].to_dict(),
                "grade": query.grades.get(document),
            }
            for rank, document in enumerate(found, 1)
        ],
    }


def _find_why(evaluation: Evaluation, run: RunInput, number: int, document: int, rank: int | None) -> str | None:
    """Why an expected document is not among the first ones; None if it is."""
    if rank is not None and rank <= FIRST:
        return None
    if document in evaluation.reasons or number in run.errors:
        return evaluation.reasons.get(document, "no_answer")
    if document in evaluation.long or rank is not None:
        return "chunk_too_long" if document in evaluation.long else "outranked"
    if int((run.ranks[number] != NOBODY).sum()) >= evaluation.width:
        return "below_top_k"
    return "filtered" if FILTERS & run.settings.keys() else "not_found"
