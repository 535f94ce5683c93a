"""Runs and judgments in the text formats of TREC, as trec_eval and ir-measures read them."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import numpy as np

KEPT = "!#$&'()*+,/:;=?@[]~"
"""Beside letters, digits and ``_.-``, characters that ids are written with as they are. White space parts columns."""


def write_name(name: str) -> str:
    """An id or the name of a run; white space, ``%`` and what is not ASCII are percent-encoded."""
    return quote(name, safe=KEPT) or "%"


def write_run(rankings: Mapping[str, Sequence[tuple[str, float]]], *, name: str) -> str:
    """A run: query, Q0, document, rank from 1, score, name of the run.

    trec_eval orders by score and not by rank, and takes scores as float32. Where scores do not fall from rank to rank
    they are lowered as little as a float can be, so that it finds the order in which the documents were served.

    Args:
        rankings: by query id, documents with their scores, best first.
        name: of the run.
    """
    tag = write_name(name)
    lines = []
    for query, ranking in rankings.items():
        scores = falling([score for _, score in ranking])
        lines += [
            f"{write_name(query)} Q0 {write_name(document)} {rank} {score!r} {tag}\n"
            for rank, ((document, _), score) in enumerate(zip(ranking, scores, strict=True), 1)
        ]
    return "".join(lines)


def falling(scores: Sequence[float]) -> list[float]:
    """The same scores as float32 tells them apart, each lower than the one before."""
    fallen: list[float] = []
    for score in np.asarray(scores, dtype=np.float32):
        lower = np.nextafter(np.float32(fallen[-1]), np.float32(-np.inf)) if fallen else score
        fallen.append(float(min(score, lower)))
    return fallen


def write_qrels(judgments: Mapping[str, Mapping[str, int]]) -> str:
    """Judgments: query, 0, document, grade. By query id, grades by document."""
    return "".join(
        f"{write_name(query)} 0 {write_name(document)} {grade}\n"
        for query, grades in judgments.items()
        for document, grade in grades.items()
    )
