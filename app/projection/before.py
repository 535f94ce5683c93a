"""What a projection has in common with the one before, and how far its points have moved from there."""

from pathlib import Path

import numpy as np

from app.projection.points_file import IDS, find_rows, read_ids

INITIAL, COORDINATES, MOVED = "initial.npy", "coordinates.npy", "moved.f32"
LEAST_SHARE = 0.1
LEAST_POINTS = 4
"""Fewer say nothing about how one map lies on the other."""


def write_initial(folder: str, before: str) -> int:
    """Write where the projection before has this one's points; gives how many of them.

    Nothing is written, and 0 given, where it has too few of them, or its files are gone.
    """
    here, there = Path(folder), Path(before)
    try:
        old = np.load(there / COORDINATES, mmap_mode="r", allow_pickle=False)
        rows = find_rows(read_ids(there / IDS), np.asarray(read_ids(here / IDS)))
    except (FileNotFoundError, ValueError):
        return 0
    known = np.flatnonzero((rows >= 0) & (rows < len(old)))
    places = np.full((len(rows), old.shape[1]), np.nan, dtype=np.float32)
    places[known] = old[rows[known]]
    common = int(np.count_nonzero(np.isfinite(places).all(axis=1)))
    if common < max(LEAST_POINTS, LEAST_SHARE * len(rows)):
        return 0
    np.save(here / INITIAL, places)
    return common


def write_moves(folder: str) -> None:
    """Write how far each point has moved, float32 ``(n,)``; NaN for those that are new."""
    here = Path(folder)
    now = np.load(here / COORDINATES, mmap_mode="r", allow_pickle=False)
    then = np.load(here / INITIAL, mmap_mode="r", allow_pickle=False)
    np.linalg.norm(np.asarray(now, dtype=np.float64) - then, axis=1).astype("<f4").tofile(here / MOVED)
