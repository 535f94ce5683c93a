"""How much of the vectors' neighbourhoods a map shows, measured on a sample."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from app.projection.layout import NEIGHBOURS

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

QUERIES = 1000
QUERIES_OF_MANY = 300
MANY = 100_000
TRIPLETS = 20_000
NUMBERS_PER_BLOCK = 8_000_000
WINDOW = 30
"""Nearest points of a map among which a true neighbour counts as found, for the trust of a point."""
WORKERS = 2
POINTS_PER_BLOCK = 50_000


def measure_quality(vectors: Floats, rows: Rows, coordinates: Floats, *, seed: int) -> Mapping[str, float]:
    """Of a sample of points: true neighbours among all, from whole vectors.

    Args:
        vectors: shape ``(all, width)``, may be memory-mapped.
        rows: those on the map.
        coordinates: shape ``(len(rows), dimensions)``.
        seed: of the sample.
    """
    n = len(rows)
    k = min(NEIGHBOURS, (n - 1) // 2)
    if k < 1:
        return {}
    random = np.random.default_rng(seed)
    chosen = np.sort(random.choice(n, min(n, QUERIES if n <= MANY else QUERIES_OF_MANY), replace=False))
    excess, shared = 0.0, 0
    shown = cKDTree(coordinates).query(coordinates[chosen], k=k + 1, workers=WORKERS)[1]
    step = max(1, NUMBERS_PER_BLOCK // n)
    for start in range(0, len(chosen), step):
        some = chosen[start : start + step]
        similar = _measure_similarity(vectors, rows, some)
        for at, point in enumerate(some):
            others = shown[start + at][shown[start + at] != point][:k]
            ranks = _rank(similar[at], int(point), others)
            excess += float(np.maximum(0, ranks - k).sum())
            shared += int((ranks <= k).sum())
    worst = len(chosen) * k * (2 * n - 3 * k - 1) / 2
    return {
        "trustworthiness@15": 1 - excess / worst,
        "neighbourhood_recall@15": shared / (len(chosen) * k),
        "triplet_accuracy": _measure_triplets(vectors, rows, coordinates, random),
    }


def _measure_similarity(vectors: Floats, rows: Rows, some: Rows) -> Floats:
    """Of some points to all others, in blocks."""
    queries = np.ascontiguousarray(vectors[rows[some]])
    similar: Floats = np.empty((len(some), len(rows)), dtype=np.float32)
    step = max(1, NUMBERS_PER_BLOCK // vectors.shape[1])
    for start in range(0, len(rows), step):
        similar[:, start : start + step] = queries @ vectors[rows[start : start + step]].T
    return similar


def _rank(similar: Floats, point: int, others: Rows) -> NDArray[np.int64]:
    """Place of others in the true order, the nearest 1; equals share the first of their places."""
    similar[point] = -np.inf
    order = np.sort(similar)
    return len(order) - np.searchsorted(order, similar[others] + np.float32(1e-7), side="right") + 1


def _measure_triplets(vectors: Floats, rows: Rows, coordinates: Floats, random: np.random.Generator) -> float:
    """How often the nearer of two random points is the nearer one on the map too: the global shape."""
    triplets = random.integers(0, len(rows), (TRIPLETS, 3))
    triplets = triplets[(triplets[:, 0] != triplets[:, 1]) & (triplets[:, 0] != triplets[:, 2])]
    triplets = triplets[triplets[:, 1] != triplets[:, 2]][: TRIPLETS // 2]
    agreed = 0
    for start in range(0, len(triplets), 2000):
        a, b, c = triplets[start : start + 2000].T
        origin = vectors[rows[a]]
        truly = np.einsum("nd,nd->n", origin, vectors[rows[b]] - vectors[rows[c]]) > 0
        seen = np.linalg.norm(coordinates[a] - coordinates[b], axis=1) < np.linalg.norm(
            coordinates[a] - coordinates[c], axis=1
        )
        agreed += int((truly == seen).sum())
    return agreed / max(1, len(triplets))


def measure_trust(coordinates: Floats, neighbours: NDArray[np.int32]) -> Floats:
    """For every point, the share of its true neighbours that are among its nearest 30 on the map.

    Args:
        coordinates: shape ``(n, dimensions)``.
        neighbours: shape ``(n, k)``, rows of ``coordinates``; -1 where there are no more.
    """
    n = len(coordinates)
    window = min(WINDOW, n - 1)
    if window < 1:
        return np.zeros(n, dtype=np.float32)
    tree = cKDTree(coordinates)
    trust: Floats = np.empty(n, dtype=np.float32)
    for start in range(0, n, POINTS_PER_BLOCK):
        some = slice(start, start + POINTS_PER_BLOCK)
        reach = tree.query(coordinates[some], k=[window + 1], workers=WORKERS)[0]
        there = neighbours[some] >= 0
        apart = np.linalg.norm(coordinates[neighbours[some]] - coordinates[some][:, None], axis=2)
        near = (apart <= reach * (1 + 1e-6) + 1e-12) & there
        trust[some] = near.sum(axis=1) / np.maximum(1, there.sum(axis=1))
    return trust
