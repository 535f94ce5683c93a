"""Reads points of a finished projection out of its files."""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.domain.projections import ProjectedPoint, ProjectionPointNotFoundError
from app.projection.before import COORDINATES
from app.projection.points_file import DOCUMENTS, IDS, find_rows, read_ids, to_ids, to_uuids

CLUSTERS, TRUST, PLACED, NEIGHBOURS = "clusters.npy", "trust.f32", "placed.u8", "neighbours.npy"
BLOCK = 65_536
Rows = NDArray[np.int64]


def select_inside(folder: Path, polygon: Sequence[tuple[float, float]], *, limit: int) -> tuple[int, Rows]:
    """How many points are inside a polygon of x and y, and the first of them; by the even-odd rule."""
    coordinates = np.load(folder / COORDINATES, mmap_mode="r", allow_pickle=False)
    corners = np.asarray(polygon, dtype=np.float64)
    low, high = corners.min(axis=0), corners.max(axis=0)
    total, first = 0, []
    for start in range(0, len(coordinates), BLOCK):
        places = np.asarray(coordinates[start : start + BLOCK, :2], dtype=np.float64)
        near = np.flatnonzero(((places >= low) & (places <= high)).all(axis=1))
        inside = near[_is_inside(places[near], corners)] + start
        if total < limit:
            first.append(inside[: limit - total])
        total += len(inside)
    return total, np.concatenate(first) if first else np.empty(0, dtype=np.int64)


def _is_inside(places: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    inside = np.zeros(len(places), dtype=bool)
    x, y = places[:, 0], places[:, 1]
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        crosses = (y1 > y) != (y2 > y)
        inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside


def select_ids(folder: Path, ids: Sequence[UUID]) -> Rows:
    """The rows of those points that there are, in the order of ``ids``."""
    rows: Rows = find_rows(read_ids(folder / IDS), to_ids(ids))
    return rows[rows >= 0]


def select_neighbours(folder: Path, point: UUID) -> Rows:
    """The nearest points of one by their vectors, nearest first. Raises ProjectionPointNotFoundError."""
    rows = select_ids(folder, [point])
    if not len(rows):
        raise ProjectionPointNotFoundError(point)
    neighbours = np.load(folder / NEIGHBOURS, mmap_mode="r", allow_pickle=False)
    near: Rows = np.asarray(neighbours[rows[0]], dtype=np.int64)
    others: Rows = near[(near >= 0) & (near != rows[0])]
    return others


def read_points(folder: Path, rows: Rows) -> list[ProjectedPoint]:
    """Points of these rows, in their order."""
    coordinates = np.load(folder / COORDINATES, mmap_mode="r", allow_pickle=False)[rows]
    clusters = np.load(folder / CLUSTERS, mmap_mode="r", allow_pickle=False)[rows]
    trust = np.fromfile(folder / TRUST, dtype="<f4")[rows]
    placed = np.fromfile(folder / PLACED, dtype=np.uint8)[rows]
    return [
        ProjectedPoint(
            id=point,
            document_id=document,
            place=tuple(float(value) for value in coordinates[row]),
            cluster=None if clusters[row] < 0 else int(clusters[row]),
            trust=round(float(trust[row]), 4),
            placed=bool(placed[row]),
        )
        for row, (point, document) in enumerate(
            zip(
                to_uuids(read_ids(folder / IDS)[rows]),
                to_uuids(read_ids(folder / DOCUMENTS)[rows]),
                strict=True,
            )
        )
    ]


def find_places(folder: Path, ids: Sequence[UUID]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Which of these points there are, and where those are."""
    rows = find_rows(read_ids(folder / IDS), to_ids(ids))
    coordinates = np.load(folder / COORDINATES, mmap_mode="r", allow_pickle=False)
    return rows >= 0, np.asarray(coordinates[rows[rows >= 0]], dtype=np.float32)
