"""What a map is good for besides looking: points that stand alone, that say the same twice, and gaps between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from app.projection.density import Floats, Integers, Terrain

Similarities = NDArray[np.float32]

MOST_FINDINGS = 50
MOST_ROWS = 20
"""Rows of a group that are named."""
LEAST_POINTS = 20
DEVIATIONS = 3.5
"""How far below the usual the similarity to neighbours is that makes an outlier, in robust deviations."""
ROWS_AT_ONCE = 4096
MOST_REGIONS = 8
REGION_SPACINGS = 6.0
"""Radius of an empty region, in times of the usual distance of points to their tenth neighbours."""
FLAT = 1e-12
"""Area of a triangle, of a map of side 1: its corners lie in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """How many there are of each kind, and the first of them; rows are those of the projection."""

    outliers: int = 0
    first_outliers: Sequence[dict[str, Any]] = ()
    near_duplicates: int = 0
    first_near_duplicates: Sequence[dict[str, Any]] = ()
    empty_regions: Sequence[dict[str, Any]] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "outliers": {"count": self.outliers, "first": list(self.first_outliers)},
            "near_duplicates": {"count": self.near_duplicates, "first": list(self.first_near_duplicates)},
            "empty_regions": {"count": len(self.empty_regions), "first": list(self.empty_regions)},
        }


def measure_similarities(vectors: NDArray[np.float32], neighbours: Integers) -> Similarities:
    """Cosine of each point and its neighbours, float32 (n, k); NaN where a neighbour is missing (-1).

    Args:
        vectors: float32 (n, width), rows of norm 1; may be mapped from a file.
        neighbours: int32 (n, k).
    """
    similarities = np.full(neighbours.shape, np.nan, dtype=np.float32)
    for start in range(0, len(neighbours), ROWS_AT_ONCE):
        block = np.asarray(vectors[start : start + ROWS_AT_ONCE])
        for column in range(neighbours.shape[1]):
            near = np.asarray(neighbours[start : start + ROWS_AT_ONCE, column])
            known = (near >= 0) & (near < len(vectors))
            cosines = np.einsum("ij,ij->i", block, vectors[np.where(known, near, 0)])
            similarities[start : start + ROWS_AT_ONCE, column] = np.where(known, cosines, np.nan)
    return np.clip(similarities, -1, 1)


def find_outliers(similarities: Similarities) -> tuple[int, list[dict[str, Any]]]:
    """Points that are much less like their nearest ones than points usually are, loneliest first."""
    if len(similarities) < LEAST_POINTS or not similarities.size:
        return 0, []
    known = np.isfinite(similarities)
    closeness = np.where(known, similarities, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    rows = np.flatnonzero(known.any(axis=1))
    if len(rows) < LEAST_POINTS:
        return 0, []
    usual = float(np.median(closeness[rows]))
    deviation = 1.4826 * float(np.median(np.abs(closeness[rows] - usual)))
    lonely = rows[closeness[rows] < usual - max(DEVIATIONS * deviation, 1e-3)]
    first = lonely[np.argsort(closeness[lonely], kind="stable")][:MOST_FINDINGS]
    return len(lonely), [{"row": int(row), "similarity": round(float(closeness[row]), 4)} for row in first]


def find_near_duplicates(
    similarities: Similarities, neighbours: Integers, documents: NDArray[np.void] | None, least: float
) -> tuple[int, list[dict[str, Any]]]:
    """Groups of points that are almost equal; those of several documents first, then the largest."""
    rows, columns = np.nonzero(similarities >= least)
    others, cosines = neighbours[rows, columns], similarities[rows, columns]
    is_other = rows != others
    rows, others, cosines = rows[is_other], others[is_other], cosines[is_other]
    count = len(similarities)
    if not len(rows):
        return 0, []
    _, labels = connected_components(
        coo_matrix((np.ones(len(rows)), (rows, others)), shape=(count, count)), directed=False
    )
    lowest = np.full(count, 1.0)
    np.minimum.at(lowest, labels[rows], cosines)
    members = np.flatnonzero(np.bincount(labels)[labels] > 1)
    members = members[np.argsort(labels[members], kind="stable")]
    known, starts = np.unique(labels[members], return_index=True)
    groups = [
        {
            "size": len(group),
            "rows": group[:MOST_ROWS].tolist(),
            "documents": len(np.unique(documents[group])) if documents is not None else None,
            "similarity": round(float(lowest[label]), 4),
        }
        for label, group in zip(known, np.split(members, starts[1:]), strict=True)
    ]
    groups.sort(key=lambda group: (-min(group["documents"] or 1, 2), -group["size"], group["rows"][0]))
    return len(groups), groups[:MOST_FINDINGS]


def find_empty_regions(terrain: Terrain) -> list[dict[str, Any]]:
    """The largest circles (spheres) inside the map that hold no point, with the points around each, largest first."""
    points = terrain.points
    least = REGION_SPACINGS * float(np.median(terrain.sparseness))
    centres, radii = _circumscribe(points[_choose_large(terrain.triangles.simplices, points, least)])
    large = np.flatnonzero(radii > least)
    large = large[np.argsort(-radii[large], kind="stable")]
    tree = cKDTree(points)
    chosen: list[int] = []
    for one in large:
        gaps = np.linalg.norm(centres[chosen] - centres[one], axis=1)
        # of two that overlap by much, the larger one is told
        if (gaps > 0.8 * radii[chosen]).all():
            chosen.append(int(one))
        if len(chosen) == MOST_REGIONS:
            break
    return [
        {
            "centre": (centres[one] * terrain.extent + terrain.middle).round(5).tolist(),
            "radius": round(float(radii[one] * terrain.extent), 5),
            "rows": tree.query(centres[one], k=min(6, len(points)))[1].tolist(),
        }
        for one in chosen
    ]


def _choose_large(corners: Integers, points: Floats, least: float) -> Integers:
    """Triangles with a side of ``least``: one with its centre inside, in the largest circle around, has one."""
    first, second = np.triu_indices(corners.shape[1], k=1)
    sides = [
        np.linalg.norm(points[corners[:, one]] - points[corners[:, two]], axis=1)
        for one, two in zip(first, second, strict=True)
    ]
    return np.asarray(corners[np.max(sides, axis=0) > least])


def _circumscribe(corners: Floats) -> tuple[Floats, Floats]:
    """Centre and radius of the circle through the corners of each triangle; radius 0 if its centre lies outside of it.

    The largest of those circles have their centres inside: where one lies in another triangle, the circle of that is
    larger still, and where it lies in none, it lies outside of the map.
    """
    sides = corners[:, 1:] - corners[:, :1]
    squares = 0.5 * (sides**2).sum(axis=2)
    flat = np.abs(np.linalg.det(sides)) < FLAT
    sides[flat] = np.eye(sides.shape[1])
    centres = np.linalg.solve(sides, squares[..., None])[..., 0]
    shares = np.linalg.solve(sides.swapaxes(1, 2), centres[..., None])[..., 0]
    inside = ~flat & (shares >= 0).all(axis=1) & (shares.sum(axis=1) <= 1)
    return corners[:, 0] + centres, np.where(inside, np.linalg.norm(centres, axis=1), 0.0)
