"""UMAP over given neighbours."""

import io
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.projection.compiled import keep_compiled, numba
from app.projection.neighbours import Neighbours

with warnings.catch_warnings():
    # without tensorflow it says so
    warnings.simplefilter("ignore")
    import umap
    from umap import layouts, umap_

Floats = NDArray[np.float32]
Told = Callable[[int, int], None]

FEWEST_EPOCHS, MOST_EPOCHS = 100, 200
POINTS_AND_EPOCHS = 4_000_000
"""Points times epochs, between those two."""
CONTINUED_EPOCHS = 30
"""Of a map that begins where one was before."""
CONTINUED_RATE = 0.1

# it compiles these anew in every process
keep_compiled(
    [
        function
        for function in (
            umap_.smooth_knn_dist,
            umap_.compute_membership_strengths,
            getattr(layouts, "_nb_optimize_layout_euclidean_single_epoch", None),
        )
        if isinstance(function, numba.core.registry.CPUDispatcher)
    ]
)


class _Epochs(io.StringIO):
    """Where a progress bar is written: tells how many epochs are done."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told = told

    def write(self, text: str) -> int:
        numbers = text.strip().split("/")
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
            self._told(int(numbers[0]), int(numbers[1]))
        return len(text)


def lay_out(
    points: Floats,
    neighbours: Neighbours,
    start: Floats,
    *,
    parameters: Mapping[str, Any],
    seed: int,
    continued: bool,
    told: Told,
) -> Floats:
    """Coordinates of all points.

    Args:
        points: shape ``(n, width)``; only counted, for neighbours and start are given.
        neighbours: of every point, without itself.
        start: shape ``(n, dimensions)``; only its form counts.
        parameters: ``n_neighbors``, ``min_dist``, ``epochs``, which may be None; see ``choose_epochs``.
        seed: the same gives the same.
        continued: whether ``start`` is a map from before, that is only brought up to date.
        told: called with epochs that are done, and all.
    """
    k = min(int(parameters["n_neighbors"]), neighbours.rows.shape[1] + 1)
    itself = np.arange(len(points), dtype=np.int32)[:, None]
    rows = np.concatenate([itself, neighbours.rows[:, : k - 1]], axis=1)
    distances = np.concatenate([np.zeros_like(itself, dtype=np.float32), neighbours.distances[:, : k - 1]], axis=1)
    model = umap.UMAP(
        n_neighbors=k,
        n_components=start.shape[1],
        min_dist=float(parameters["min_dist"]),
        metric="euclidean",  # of normalised vectors, where the order is that of cosine
        n_epochs=CONTINUED_EPOCHS if continued else int(parameters["epochs"] or choose_epochs(len(points))),
        learning_rate=CONTINUED_RATE if continued else 1.0,
        init=_with_extent(start, seed),
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(rows, distances),
        force_approximation_algorithm=True,  # else it measures all pairs of up to 4 096 points again
        tqdm_kwds={"file": _Epochs(told), "disable": False, "bar_format": "{n_fmt}/{total_fmt}", "mininterval": 0.1},
    )
    with warnings.catch_warnings():
        # that new points cannot be transformed: they are placed by their neighbours
        warnings.simplefilter("ignore")
        laid_out: Floats = model.fit_transform(points).astype(np.float32)
    return laid_out


def choose_epochs(points: int) -> int:
    """200, and for many points fewer: beyond 100 a map of 50 000 gains a ten-thousandth of trustworthiness."""
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, POINTS_AND_EPOCHS // max(1, points)))


def _with_extent(start: Floats, seed: int) -> Floats:
    """Ten wide, and nowhere flat: the library divides by the extent of every axis."""
    start = start - start.mean(axis=0)
    extent = float(np.abs(start).max()) or 1.0
    noise = np.random.default_rng(seed).normal(scale=1e-4, size=start.shape)
    return np.asarray(start * (10 / extent) + noise, dtype=np.float32)
