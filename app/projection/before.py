"""What a projection has in common with the one before, and how far its points have moved from there."""

from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.projection.overlapping import place_over, read_cut
from app.projection.points_file import IDS, find_rows, read_ids

Floats = NDArray[np.float32]

INITIAL, COORDINATES, MOVED = "initial.npy", "coordinates.npy", "moved.f32"
LEAST_SHARE = 0.1
LEAST_POINTS = 4
"""Fewer say nothing about how one map lies on the other."""


def write_initial(folder: str, before: str) -> int:
    """Write where the projection before has this one's points; gives how many of them.

    Chunks of another cut, as after a rebuild, are where those are that they share characters with. Nothing is written,
    and 0 given, where too few can be found, or the files of the one before are gone.
    """
    here, there = Path(folder), Path(before)
    try:
        old = np.load(there / COORDINATES, mmap_mode="r", allow_pickle=False)
        places = _find_same(here, there, old)
        _find_overlapping(here, there, old, places)
    except (FileNotFoundError, ValueError):
        return 0
    common = _count(places)
    if common < _least(places):
        return 0
    np.save(here / INITIAL, places)
    return common


def _find_same(here: Path, there: Path, old: Floats) -> Floats:
    """Places of the points that both have."""
    rows = find_rows(read_ids(there / IDS), np.asarray(read_ids(here / IDS)))
    known = np.flatnonzero((rows >= 0) & (rows < len(old)))
    places: Floats = np.full((len(rows), old.shape[1]), np.nan, dtype=np.float32)
    places[known] = old[rows[known]]
    return places


def _find_overlapping(here: Path, there: Path, old: Floats, places: Floats) -> None:
    """Fill in those that share characters with chunks there: short documents are the same in any cut."""
    unknown = ~np.isfinite(places).all(axis=1)
    if not unknown.any():
        return
    with suppress(FileNotFoundError):  # a map from before spans were kept
        places[unknown] = place_over(read_cut(there), np.asarray(old), read_cut(here))[unknown]


def _count(places: Floats) -> int:
    return int(np.count_nonzero(np.isfinite(places).all(axis=1)))


def _least(places: Floats) -> float:
    return max(LEAST_POINTS, LEAST_SHARE * len(places))


def write_moves(folder: str) -> None:
    """Write how far each point has moved, float32 ``(n,)``; NaN for those that are new."""
    here = Path(folder)
    now = np.load(here / COORDINATES, mmap_mode="r", allow_pickle=False)
    then = np.load(here / INITIAL, mmap_mode="r", allow_pickle=False)
    np.linalg.norm(np.asarray(now, dtype=np.float64) - then, axis=1).astype("<f4").tofile(here / MOVED)
