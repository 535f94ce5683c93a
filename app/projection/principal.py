"""Main directions of vectors, read in blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

BYTES_PER_BLOCK = 16 * 1024 * 1024
LEAST_SPREAD = 1e-12
"""Variance below which vectors are the same but for rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The centre, main directions as columns (strongest first), and the variance of all vectors together."""

    centre: NDArray[np.float64]
    directions: NDArray[np.float64]
    spread: float

    def apply(self, block: Floats, width: int) -> Floats:
        """A block along the first directions; zeros beyond those there are."""
        reduced: Floats = np.zeros((len(block), width), dtype=np.float32)
        directions = self.directions[:, :width].astype(np.float32)
        reduced[:, : directions.shape[1]] = (block - self.centre.astype(np.float32)) @ directions
        return reduced


def iterate_blocks(rows: Rows, width: int) -> Iterator[Rows]:
    """Rows in blocks of bounded size."""
    step = max(1, BYTES_PER_BLOCK // (4 * max(1, width)))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def find_finite(vectors: Floats) -> Rows:
    """Rows that have numbers only."""
    everything = np.arange(len(vectors), dtype=np.int64)
    kept = [rows[np.isfinite(vectors[rows]).all(axis=1)] for rows in iterate_blocks(everything, vectors.shape[1])]
    return np.concatenate(kept) if kept else everything


def fit_principal(vectors: Floats, rows: Rows, width: int) -> Principal:
    """The first ``width`` directions of these rows, from sums over blocks; the same whatever way they point."""
    size = vectors.shape[1]
    if not len(rows):
        return Principal(centre=np.zeros(size), directions=np.zeros((size, 0)), spread=0.0)
    total, products = np.zeros(size), np.zeros((size, size))
    # near the centre, so that the difference below loses no digits
    origin = vectors[rows[0]].astype(np.float64)
    for some in iterate_blocks(rows, size):
        block = vectors[some] - origin.astype(np.float32)
        total += block.sum(axis=0, dtype=np.float64)
        products += block.T @ block
    mean = total / len(rows)
    covariance = products / len(rows) - np.outer(mean, mean)
    kept = min(width, size)
    values, directions = eigh(covariance, subset_by_index=[size - kept, size - 1])
    directions = directions[:, ::-1]
    # each direction is known but for its sign
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(kept)])
    directions *= np.where(signs == 0, 1, signs)
    directions[:, values[::-1] <= LEAST_SPREAD] = 0
    return Principal(centre=mean + origin, directions=directions, spread=float(np.trace(covariance)))


def write_first_map(folder: str, dimensions: int) -> None:
    """See ``make_first_map``."""
    vectors = np.load(Path(folder) / "vectors.npy", mmap_mode="r")
    rows = find_finite(vectors)
    principal = fit_principal(vectors, rows, dimensions)
    first: Floats = np.zeros((len(vectors), dimensions), dtype=np.float32)
    for some in iterate_blocks(rows, vectors.shape[1]):
        first[some] = principal.apply(vectors[some], dimensions)
    beside = Path(folder) / "first.partial.npy"
    np.save(beside, first)
    beside.replace(Path(folder) / "first.npy")
