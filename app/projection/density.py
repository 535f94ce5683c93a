"""Where points of a map lie densely: HDBSCAN's tree, whose edges come from a triangulation of the map.

The library compares all points with all points, 8 s for 50 000 of them. The shortest edges that join everything are
among the edges of a Delaunay triangulation, which takes time in proportion to the points; only where distances are
raised to those of sparse points may the two trees differ a little.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import Delaunay, cKDTree

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int32]

NEIGHBOURS = 10
"""How far the tenth is says how sparse it is around a point."""
NOISE = -1
JITTER = 1e-6
"""Of the extent: equal points are moved apart by this, for a triangulation has no two points in one place."""

LEAST_GAP = 1e-4
"""Of the extent: what lies closer is one place for whoever looks at the map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terrain:
    """A triangulated map.

    Attributes:
        points: float64 (n, dimensions), moved to the middle, of extent 1, no two of them equal.
        sparseness: float64 (n,), the distance of each point to its tenth neighbour.
        triangles: the triangulation (tetrahedra in 3-D).
        middle: what was subtracted.
        extent: what the rest was divided by.
    """

    points: Floats
    sparseness: Floats
    triangles: Delaunay
    middle: Floats
    extent: float


def find_finite(coordinates: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Rows that are a place."""
    return np.asarray(np.isfinite(coordinates).all(axis=1))


def triangulate(coordinates: NDArray[np.float32]) -> Terrain | None:
    """The map as a terrain; None with too few points, or if all lie in one place."""
    points = np.asarray(coordinates, dtype=np.float64)
    if len(points) < points.shape[1] + 2:
        return None
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    extent = float(np.ptp(points, axis=0).max())
    if not extent or not np.isfinite(extent):
        return None
    points = (points - middle) / extent
    points += np.random.default_rng(0).uniform(-JITTER, JITTER, points.shape)
    distances, _ = cKDTree(points).query(points, k=min(NEIGHBOURS, len(points) - 1) + 1)
    return Terrain(points=points, sparseness=distances[:, -1], triangles=Delaunay(points), middle=middle, extent=extent)


def find_edges(triangles: Delaunay) -> Integers:
    """Every edge of a triangulation once, and one from each point that it left out as too close to another.

    Returns:
        int32 (edges, 2).
    """
    corners = triangles.simplices
    first, second = np.triu_indices(corners.shape[1], k=1)
    pairs = np.stack([corners[:, first].ravel(), corners[:, second].ravel()], axis=1)
    pairs = np.concatenate([pairs, triangles.coplanar[:, [0, 2]]])
    pairs.sort(axis=1)
    count = len(triangles.points)
    keys = np.unique(pairs[:, 0].astype(np.int64) * count + pairs[:, 1])
    return np.stack(np.divmod(keys, count), axis=1).astype(np.int32)


def find_dense_regions(terrain: Terrain, least: int) -> Integers:
    """The leaves of HDBSCAN's tree: regions of ``least`` points or more that do not fall apart into two of them.

    Returns:
        int32 (n,): the region of each point, ``NOISE`` for none; regions are numbered from 0, largest first.
    """
    merges, gaps = _join(terrain)
    count = len(terrain.points)
    sizes = np.ones(2 * count - 1, dtype=np.int64)
    falls_apart = np.zeros(2 * count - 1, dtype=bool)
    splits = np.zeros(2 * count - 1, dtype=bool)
    for node, (left, right) in enumerate(merges, start=count):
        sizes[node] = sizes[left] + sizes[right]
        splits[node] = min(sizes[left], sizes[right]) >= least and gaps[node - count] > LEAST_GAP
        falls_apart[node] = splits[node] or falls_apart[left] or falls_apart[right]
    regions = np.full(2 * count - 1, NOISE, dtype=np.int32)
    if not falls_apart[-1]:
        return np.full(count, 0 if count >= least else NOISE, dtype=np.int32)
    found = 0
    for node in range(2 * count - 2, count - 1, -1):
        for child in merges[node - count]:
            regions[child] = regions[node]
            if splits[node] and not falls_apart[child]:
                regions[child] = found
                found += 1
    return number_by_size(regions[:count])


def number_by_size(labels: Integers) -> Integers:
    """The same groups, numbered from the largest; ``NOISE`` stays."""
    known, inverse, counts = np.unique(labels[labels != NOISE], return_inverse=True, return_counts=True)
    place = np.empty(len(known), dtype=np.int32)
    place[np.argsort(-counts, kind="stable")] = np.arange(len(known))
    numbered = np.full(len(labels), NOISE, dtype=np.int32)
    numbered[labels != NOISE] = place[inverse]
    return numbered


def _join(terrain: Terrain) -> tuple[list[tuple[int, int]], list[float]]:
    """Which two nodes become one, and over which gap, densest first; the n-th of them is node ``points + n``."""
    points, sparseness = terrain.points, terrain.sparseness
    first, second = find_edges(terrain.triangles).T
    lengths = np.linalg.norm(points[first] - points[second], axis=1)
    lengths = np.maximum(lengths, np.maximum(sparseness[first], sparseness[second]))
    tree = minimum_spanning_tree(coo_matrix((lengths, (first, second)), shape=(len(points), len(points)))).tocoo()
    order = np.argsort(tree.data, kind="stable")
    parents = list(range(2 * len(points) - 1))
    merges: list[tuple[int, int]] = []
    for left, right in zip(tree.row[order].tolist(), tree.col[order].tolist(), strict=True):
        node = len(points) + len(merges)
        one, other = _find_root(parents, left), _find_root(parents, right)
        parents[one] = parents[other] = node
        merges.append((one, other))
    return merges, tree.data[order].tolist()


def _find_root(parents: list[int], node: int) -> int:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node
