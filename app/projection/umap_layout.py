"""UMAP over given neighbours: the graph of umap-learn, and a way down of our own."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from app.projection.compiled import keep_compiled
from app.projection.neighbours import Neighbours
from app.projection.umap_descent import Descent, Told

with warnings.catch_warnings():
    # without tensorflow it says so
    warnings.simplefilter("ignore")
    from umap import umap_

Floats = NDArray[np.float32]

FEWEST_EPOCHS, MOST_EPOCHS = 100, 200
POINTS_AND_EPOCHS = 8_000_000
"""Points times epochs, between those two."""
CONTINUED_EPOCHS = 30
"""Of a map that begins where one was before."""
CONTINUED_RATE = 0.05
EXTENT = 10
"""Of the first coordinates, along each axis."""

# it compiles these anew in every process
keep_compiled([umap_.smooth_knn_dist, umap_.compute_membership_strengths])


def lay_out(
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
        neighbours: of every point, without itself.
        start: shape ``(n, dimensions)``; only its form counts.
        parameters: ``n_neighbors``, ``min_dist``, ``epochs``, which may be None; see ``choose_epochs``.
        seed: the same gives the same.
        continued: whether ``start`` is a map from before, that is only brought up to date.
        told: called with epochs that are done, and all.
    """
    epochs = CONTINUED_EPOCHS if continued else int(parameters["epochs"] or choose_epochs(len(start)))
    graph = weigh_edges(neighbours, int(parameters["n_neighbors"]))
    descent = Descent(graph, umap_.find_ab_params(1.0, float(parameters["min_dist"])), epochs)
    rate = CONTINUED_RATE if continued else 1.0
    return descent.run(spread(start, seed, keep_shape=continued), rate=rate, seed=seed, told=told)


def weigh_edges(neighbours: Neighbours, most: int) -> sparse.csr_array:
    """How surely points are neighbours of each other, symmetric.

    Args:
        neighbours: of every point, without itself.
        most: how many of them count, with the point itself.
    """
    itself = np.arange(len(neighbours.rows), dtype=np.int32)[:, None]
    rows = np.concatenate([itself, neighbours.rows[:, : most - 1]], axis=1)
    nothing = np.zeros(itself.shape, dtype=np.float32)
    distances = np.concatenate([nothing, neighbours.distances[:, : most - 1]], axis=1)
    graph, _, _ = umap_.fuzzy_simplicial_set(
        rows,  # only counted, for neighbours are given
        rows.shape[1],
        None,
        "euclidean",  # of normalised vectors, where the order is that of cosine
        knn_indices=rows,
        knn_dists=distances,
    )
    return sparse.csr_array(graph)


def choose_epochs(points: int) -> int:
    """200, and for many points fewer, which costs them hardly a thousandth of trustworthiness."""
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, POINTS_AND_EPOCHS // max(1, points)))


def spread(start: Floats, seed: int, *, keep_shape: bool) -> Floats:
    """As wide along every axis, unless the map has a shape to be kept, and no two points at the same place."""
    start = start - start.mean(axis=0)
    extent = float(np.abs(start).max()) or 1.0
    noise = np.random.default_rng(seed).normal(scale=1e-5, size=start.shape)
    noisy = start / extent + noise
    widths = np.ptp(noisy, axis=0)
    return np.asarray(EXTENT * (noisy - noisy.min(axis=0)) / (widths.max() if keep_shape else widths), dtype=np.float32)
