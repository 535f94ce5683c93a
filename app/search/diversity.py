"""Maximal marginal relevance: what answers a query without repeating what stands before it."""

from collections.abc import Iterator

import numpy as np

from app.domain.points import Vectors
from app.evaluation.metrics import Scores


def pick_diverse(relevance: Scores, vectors: Vectors, *, diversity: float) -> Iterator[tuple[int, float]]:
    """All rows, the best one that is left each time, with scores that never rise.

    A score is ``(1 - diversity) * relevance - diversity * likeness``: relevance from 0 for the least relevant row to 1
    for the most relevant one, likeness the largest cosine to a row before it, or 0.

    Args:
        relevance: shape ``(n,)``.
        vectors: shape ``(n, dimension)``; a row that is not finite, or zero, is like no other.
        diversity: from 0 to 1.
    """
    directions = _normalise(vectors)
    usefulness = (1 - diversity) * _scale(relevance)
    likeness = np.zeros(len(usefulness))
    is_left = np.ones(len(usefulness), dtype=bool)
    for _ in range(len(usefulness)):
        marginal = np.where(is_left, usefulness - diversity * likeness, -np.inf)
        best = int(marginal.argmax())
        yield best, float(marginal[best])
        is_left[best] = False
        likeness = np.maximum(likeness, directions @ directions[best])


def _scale(relevance: Scores) -> Scores:
    if not len(relevance) or relevance.min() == relevance.max():
        return np.ones(len(relevance))
    scaled: Scores = (relevance - relevance.min()) / (relevance.max() - relevance.min())
    return scaled


def _normalise(vectors: Vectors) -> Scores:
    whole = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0)
    norms = np.linalg.norm(whole, axis=1, keepdims=True)
    directions: Scores = whole / np.where(norms > 0, norms, 1)
    return directions
