"""Points as raw little-endian arrays, and as samples of them that a screen can show while the rest is loaded."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.projection.files import written
from app.projection.points import Points

LEVELS = (4096, 32_768)
"""Points of each sample; the smaller ones are the first rows of the larger ones."""


def choose_levels(points: int) -> list[int]:
    """Those that are much smaller than the whole."""
    return [level for level in LEVELS if 2 * level <= points]


def sample_rows(points: int) -> NDArray[np.uint32]:
    """Rows of the largest level, drawn uniformly, the same each time."""
    levels = choose_levels(points)
    chosen = np.random.default_rng(0).choice(points, levels[-1], replace=False) if levels else np.empty(0)
    return chosen.astype("<u4")


def write_arrays(points: Points) -> list[str]:
    """Write ``x.f32``, ``y.f32``[, ``z.f32``], ``category.u8``, and of each level the same and its ``row.N.u32``.

    Returns:
        Names of the files.
    """
    rows = sample_rows(len(points))
    arrays: dict[str, NDArray[Any]] = {
        f"{axis}.f32": points.coordinates[:, number] for number, axis in _list_axes(points)
    }
    arrays["category.u8"] = points.categories.of
    for level in choose_levels(len(points)):
        first = rows[:level]
        arrays[f"row.{level}.u32"] = first
        arrays[f"category.{level}.u8"] = points.categories.of[first]
        arrays |= {f"{axis}.{level}.f32": points.coordinates[first, number] for number, axis in _list_axes(points)}
    for name, array in arrays.items():
        _write_array(points.folder / name, array)
    return list(arrays)


def _list_axes(points: Points) -> list[tuple[int, str]]:
    return list(enumerate("xyz"[: points.coordinates.shape[1]]))


def _write_array(path: Path, array: NDArray[Any]) -> None:
    with written(path) as temporary:
        np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tofile(temporary)
