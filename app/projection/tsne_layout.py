"""t-SNE over given neighbours: the gradient of FIt-SNE, in compiled code that is kept, in two or three dimensions."""

from collections.abc import Callable
from math import log

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from app.projection.compiled import compiled, numba
from app.projection.forces import Repulsion, attract
from app.projection.neighbours import Neighbours

Floats = NDArray[np.float32]
Told = Callable[[int, int], None]

EXAGGERATION = 12.0
EXAGGERATED_ITERATIONS = 250
CONTINUED_ITERATIONS = 100
"""Of a map that begins where one was before."""
MOMENTUM = np.float32(0.8)
STEP_MAX = np.float32(5)
START = 1e-4
"""Standard deviation of the first coordinates."""


@compiled(parallel=True)
def _spread_weights(distances, aim, weights):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    """Weights of each row's neighbours such that their entropy is ``aim``, by bisection."""
    for i in numba.prange(distances.shape[0]):
        nearest = np.float64(distances[i, 0]) ** 2
        low, high, beta = 0.0, np.inf, 1.0
        for _ in range(100):
            total, heat = 0.0, 0.0
            for j in range(distances.shape[1]):
                squared = np.float64(distances[i, j]) ** 2 - nearest
                weight = np.exp(-beta * squared)
                weights[i, j] = weight
                total += weight
                heat += weight * squared
            entropy = np.log(total) + beta * heat / total
            if abs(entropy - aim) < 1e-5:
                break
            if entropy > aim:
                low = beta
                beta = beta * 2 if high == np.inf else (beta + high) / 2
            else:
                high = beta
                beta = (low + beta) / 2
        for j in range(distances.shape[1]):
            weights[i, j] /= total


@compiled(parallel=True)
def _move(points, forces, share, pull, rate, gains, speed):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0917 — numba's
    """One step of every point, with gains and momentum, no longer than ``STEP_MAX``."""
    pulls, pushes = forces
    for i in numba.prange(points.shape[0]):
        length = np.float32(0)
        for d in range(points.shape[1]):
            gradient = pull * pulls[i, d] - share * pushes[i, d]
            if gradient * speed[i, d] < 0:
                gains[i, d] += np.float32(0.2)
            else:
                gains[i, d] = max(gains[i, d] * np.float32(0.8), np.float32(0.01))
            speed[i, d] = MOMENTUM * speed[i, d] - rate * gains[i, d] * gradient
            length += speed[i, d] * speed[i, d]
        length = np.sqrt(length)
        for d in range(points.shape[1]):
            if length > STEP_MAX:
                speed[i, d] *= STEP_MAX / length
            points[i, d] += speed[i, d]


def find_perplexity(asked: float, points: int) -> float:
    """The perplexity that so few points allow: three neighbours are needed for each one of it."""
    return max(1.0, min(asked, (points - 1) / 3))


def lay_out(
    neighbours: Neighbours, start: Floats, *, perplexity: float, iterations: int, continued: bool, told: Told
) -> Floats:
    """Coordinates of all points.

    Args:
        neighbours: three times as many as the perplexity.
        start: shape ``(n, dimensions)``; only its form counts, unless it is ``continued``.
        perplexity: how many neighbours count, about.
        iterations: 250 of them pull points together more strongly.
        continued: whether ``start`` is a map from before, that is only brought up to date.
        told: called with iterations that are done, and all.
    """
    edges = _weigh_edges(neighbours, perplexity)
    points = np.ascontiguousarray(start - start.mean(axis=0), dtype=np.float32)
    if continued:
        iterations = min(iterations, CONTINUED_ITERATIONS)
        return _Descent(points, edges).run(iterations, 0, told)
    deviation = float(points[:, 0].std()) or 1.0
    return _Descent(points * np.float32(START / deviation), edges).run(iterations, EXAGGERATED_ITERATIONS, told)


def _weigh_edges(neighbours: Neighbours, perplexity: float) -> sparse.csr_array:
    """Joint probabilities of neighbours, symmetric."""
    n, k = neighbours.rows.shape
    weights = np.empty((n, k), dtype=np.float32)
    _spread_weights(neighbours.distances, log(min(perplexity, k)), weights)
    starts = np.arange(0, n * k + 1, k)
    one_way = sparse.csr_array((weights.ravel(), neighbours.rows.ravel(), starts), shape=(n, n))
    both: sparse.csr_array = (one_way + one_way.T) / np.float32(2 * n)
    return both.tocsr()


class _Descent:
    """Points on their way down."""

    def __init__(self, points: Floats, edges: sparse.csr_array) -> None:
        self._points = points
        self._edges = edges
        self._weights = edges.data.astype(np.float32)
        self._gains = np.ones_like(points)
        self._speed = np.zeros_like(points)
        self._pulls = np.zeros_like(points)
        self._repulsion = Repulsion(points.shape[1])

    def run(self, iterations: int, exaggerated: int, told: Told) -> Floats:
        n = len(self._points)
        for iteration in range(iterations):
            if iteration == exaggerated:
                self._gains[:], self._speed[:] = 1, 0
            early = iteration < exaggerated
            self._step(EXAGGERATION if early else 1.0, n / EXAGGERATION if early or not exaggerated else n)
            told(iteration + 1, iterations)
        return self._points

    def _step(self, pull: float, rate: float) -> None:
        attract(self._edges.indptr, self._edges.indices, self._weights, self._points, self._pulls)
        pushes, total = self._repulsion.push(self._points)
        single = np.float32
        _move(
            self._points,
            (self._pulls, pushes),
            single(1 / total),
            single(pull),
            single(rate),
            self._gains,
            self._speed,
        )
        self._points -= self._points.mean(axis=0, dtype=np.float64).astype(np.float32)
