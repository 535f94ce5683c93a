"""Points that join a map which is there already: each goes to where its nearest are."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int32]

PLACED_BY = 5
NUMBERS_PER_BLOCK = 8_000_000


def place(vectors_new: Floats, vectors_old: Floats, coordinates_old: Floats, k: int = PLACED_BY) -> Floats:
    """Coordinates of new points among old ones that have theirs.

    Args:
        vectors_new: shape ``(m, width)``, rows L2-normalised; those that are no numbers go to the centre.
        vectors_old: shape ``(n, width)``, may be memory-mapped; it is read in blocks.
        coordinates_old: shape ``(n, dimensions)``.
        k: how many nearest points place one.
    """
    dimensions = coordinates_old.shape[1]
    usable = np.isfinite(vectors_new).all(axis=1)
    placed: Floats = np.zeros((len(vectors_new), dimensions), dtype=np.float32)
    if not len(vectors_old):
        return placed
    placed[:] = coordinates_old.mean(axis=0, dtype=np.float64)
    rows, distances = _find_nearest(vectors_new[usable], vectors_old, min(k, len(vectors_old)))
    placed[usable] = combine(coordinates_old, rows, distances)
    return placed


def combine(coordinates: Floats, rows: Rows, distances: Floats) -> Floats:
    """Where points with these neighbours belong: near ones count more, by the square of their distance.

    Args:
        coordinates: of the points that neighbours are of.
        rows: shape ``(m, k)``, rows of ``coordinates``; -1 where there is none.
        distances: the same shape.
    """
    closeness = 1 / (np.square(distances, dtype=np.float64) + 1e-6)
    weights = np.where(rows >= 0, closeness, 0)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    combined: Floats = np.einsum("mk,mkd->md", weights, coordinates[rows]).astype(np.float32)
    return combined


def _find_nearest(queries: Floats, vectors: Floats, k: int) -> tuple[Rows, Floats]:
    """Exact nearest rows of normalised vectors and their distances."""
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), k), -1, dtype=np.int32)
    step = max(1, NUMBERS_PER_BLOCK // max(1, len(queries), vectors.shape[1]))
    for start in range(0, len(vectors), step):
        block = np.nan_to_num(vectors[start : start + step], nan=-1e6, posinf=-1e6, neginf=-1e6)
        scores = np.concatenate([best, queries @ block.T], axis=1)
        found = np.concatenate(
            [rows, np.tile(np.arange(start, start + len(block), dtype=np.int32), (len(queries), 1))], 1
        )
        kept = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(-np.take_along_axis(scores, kept, 1), axis=1, kind="stable")
        kept = np.take_along_axis(kept, order, 1)
        best, rows = np.take_along_axis(scores, kept, 1), np.take_along_axis(found, kept, 1)
    return rows, np.sqrt(np.maximum(0, 2 - 2 * best))
