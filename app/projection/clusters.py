"""Clusters of a map at two zoom levels: countries, and the provinces they are made of."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial import cKDTree

from app.projection.density import NOISE, Floats, Integers, Terrain, find_dense_regions, number_by_size

LEAST_POINTS = 5
MOST_FINE = 160
MOST_COARSE = 14
REACH = 0.05
"""Of the map's side: how far from a region a point may lie and still be of it."""
LONELY = 3.0
"""Times the usual sparseness: a point in a sparser place belongs to nothing."""
COARSE, FINE = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """Clusters of both levels.

    Attributes:
        fine: int32 (n,), the fine cluster of each point, numbered from the largest; ``NOISE`` for none.
        parents: int32 (fine clusters,), the coarse cluster of each fine one, numbered from the largest.
    """

    fine: Integers
    parents: Integers

    @property
    def coarse(self) -> Integers:
        """int32 (n,), the coarse cluster of each point."""
        return np.append(self.parents, np.int32(NOISE))[self.fine]


def find_clusters(terrain: Terrain) -> Clusters:
    """Dense regions with what lies close to them, and groups of those that lie beside each other."""
    regions = _find_regions(terrain)
    fine = number_by_size(_adopt(terrain, regions))
    count = int(fine.max(initial=NOISE)) + 1
    centres = (
        np.stack([terrain.points[fine == one].mean(axis=0) for one in range(count)]) if count else np.empty((0, 2))
    )
    groups = _group(centres)
    sizes = np.bincount(fine[fine != NOISE], minlength=count)
    order = np.argsort(-np.bincount(groups, weights=sizes), kind="stable") if count else groups
    place = np.empty(len(order), dtype=np.int32)
    place[order] = np.arange(len(order))
    return Clusters(fine=fine, parents=place[groups])


def _find_regions(terrain: Terrain) -> Integers:
    """About as many regions as a person can look at, whatever the number of points."""
    least = max(LEAST_POINTS, int(0.35 * len(terrain.points) ** 0.5))
    regions = find_dense_regions(terrain, least)
    while regions.max(initial=NOISE) >= MOST_FINE:
        least = least * 3 // 2
        regions = find_dense_regions(terrain, least)
    return regions


def _adopt(terrain: Terrain, regions: Integers) -> Integers:
    """Points beside a region belong to it as well, unless they stand alone.

    A leaf of the tree is only the densest part of what a person sees as one cluster.
    """
    inside = np.flatnonzero(regions != NOISE)
    outside = np.flatnonzero(regions == NOISE)
    if not len(inside) or not len(outside):
        return regions
    distances, nearest = cKDTree(terrain.points[inside]).query(terrain.points[outside])
    beside = (distances <= REACH) & (terrain.sparseness[outside] <= LONELY * np.median(terrain.sparseness))
    adopted = regions.copy()
    adopted[outside] = np.where(beside, regions[inside[nearest]], NOISE)
    return adopted


def _group(centres: Floats) -> Integers:
    """Groups of neighbouring centres, by Ward's method; few enough for one look."""
    wanted = min(len(centres), MOST_COARSE, max(3, round(1.5 * len(centres) ** 0.5)))
    if wanted < 2 or len(centres) <= 4:
        return np.arange(len(centres), dtype=np.int32)
    groups: Integers = fcluster(linkage(centres, "ward"), wanted, criterion="maxclust").astype(np.int32) - 1
    return groups


def find_middles(coordinates: NDArray[np.float32], labels: Integers) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Each cluster with its size and the point in the middle of it, which no outlier can pull away."""
    if not len(labels):
        return
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] != NOISE]
    known, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    for label, start, size in zip(known.tolist(), starts.tolist(), sizes.tolist(), strict=True):
        yield label, size, np.median(coordinates[order[start : start + size]], axis=0)
