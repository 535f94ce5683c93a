"""t-SNE over given neighbours: the gradient of FIt-SNE, in compiled code that is kept, in two or three dimensions."""

from collections.abc import Callable
from math import log

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from app.projection.compiled import compiled, numba
from app.projection.forces import Edges, Repulsion, attract
from app.projection.neighbours import Neighbours

Floats = NDArray[np.float32]
Told = Callable[[int, int], None]

EXAGGERATION = 12.0
EXAGGERATED_ITERATIONS, EASED_ITERATIONS = 50, 150
"""With the whole exaggeration, and after these while it is taken back."""
CONTINUED_ITERATIONS = 100
"""Of a map that begins where one was before."""
CHECKED_ITERATIONS, LEAST_GAIN = 50, 0.015
"""A layout ends where the divergence falls by a smaller share in so many iterations."""
EARLY_MOMENTUM, MOMENTUM, CONTINUED_MOMENTUM = 0.9, 0.97, 0.8
RATE, CONTINUED_RATE = 2.0, 1 / 12
"""Times the number of points."""
SHARE_OF_STRENGTH = np.float32(1.5)
"""A point goes no farther than so many times to where its neighbours pull it: from 2 on it would swing ever wider."""
STEP_MAX = np.float32(1)
START = 1e-2
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


@compiled()
def _move(points, forces, strength, share, pull, rate, momentum, speed):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0917 — numba's
    """One step of every point, no longer than ``STEP_MAX``; the middle stays where it is."""
    pulls, pushes = forces
    middle = np.zeros(3)
    for i in range(points.shape[0]):
        length = np.float32(0)
        own = min(SHARE_OF_STRENGTH / (pull * strength[i]), rate)
        for d in range(points.shape[1]):
            speed[i, d] = momentum * speed[i, d] - own * (pull * pulls[i, d] - share * pushes[i, d])
            length += speed[i, d] * speed[i, d]
        length = np.sqrt(length)
        for d in range(points.shape[1]):
            if length > STEP_MAX:
                speed[i, d] *= STEP_MAX / length
            points[i, d] += speed[i, d]
            middle[d] += points[i, d]
    for d in range(points.shape[1]):
        shift = np.float32(middle[d] / points.shape[0])
        for i in range(points.shape[0]):
            points[i, d] -= shift


@compiled(parallel=True, any_order=True)
def _measure_divergence(starts, targets, weights, points, parts):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    """Of each row's edges; together they lack the logarithm of the sum of all pushes."""
    for i in numba.prange(points.shape[0]):
        part = np.float64(0)
        for edge in range(starts[i], starts[i + 1]):
            far = np.float32(1)
            for d in range(points.shape[1]):
                apart = points[i, d] - points[targets[edge], d]
                far += apart * apart
            if weights[edge] > 0:
                part += weights[edge] * np.log(weights[edge] * far)
        parts[i] = part


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
        iterations: the most; in the first 200 of them points are pulled together more strongly.
        continued: whether ``start`` is a map from before, that is only brought up to date.
        told: called with iterations that are done, and the most; both are the same at the end.
    """
    edges = _weigh_edges(neighbours, perplexity)
    points = np.ascontiguousarray(start - start.mean(axis=0), dtype=np.float32)
    descent = _Descent(points, edges)
    if continued:
        descent.bring_up_to_date(min(iterations, CONTINUED_ITERATIONS), told)
    else:
        points *= np.float32(START / (float(points[:, 0].std()) or 1.0))
        descent.run(iterations, told)
    return points


def _weigh_edges(neighbours: Neighbours, perplexity: float) -> Edges:
    """Joint probabilities of neighbours, symmetric."""
    n, k = neighbours.rows.shape
    weights = np.empty((n, k), dtype=np.float32)
    _spread_weights(neighbours.distances, log(min(perplexity, k)), weights)
    starts = np.arange(0, n * k + 1, k)
    one_way = sparse.csr_array((weights.ravel(), neighbours.rows.ravel(), starts), shape=(n, n))
    both = sparse.csr_array((one_way + one_way.T) / np.float32(2 * n))
    return Edges(
        starts=both.indptr.astype(np.int32),
        targets=both.indices.astype(np.int32),
        weights=both.data.astype(np.float32),
    )


class _Descent:
    """Points on their way down, where they are."""

    def __init__(self, points: Floats, edges: Edges) -> None:
        self._points = points
        self._edges = edges
        self._speed = np.zeros_like(points)
        self._pulls = np.zeros_like(points)
        self._strength: Floats = np.zeros(len(points), dtype=np.float32)
        self._repulsion = Repulsion(points.shape[1])

    def run(self, iterations: int, told: Told) -> None:
        """From the beginning, until little is gained any more."""
        before = np.inf
        for iteration in range(iterations):
            pull = _find_exaggeration(iteration)
            momentum = EARLY_MOMENTUM if iteration < EXAGGERATED_ITERATIONS else MOMENTUM
            total = self._step(pull, RATE, momentum)
            checked = iteration + 1 - EXAGGERATED_ITERATIONS - EASED_ITERATIONS
            if checked > 0 and checked % CHECKED_ITERATIONS == 0:
                divergence = self._measure(total)
                if divergence > before * (1 - LEAST_GAIN):
                    break
                before = divergence
            told(iteration + 1, iterations)
        told(iterations, iterations)

    def bring_up_to_date(self, iterations: int, told: Told) -> None:
        """A map from before, which moves little."""
        for iteration in range(iterations):
            self._step(1, CONTINUED_RATE, CONTINUED_MOMENTUM)
            told(iteration + 1, iterations)

    def _step(self, pull: float, rate: float, momentum: float) -> float:
        """Gives the sum of all pushes."""
        single = np.float32
        attract(self._edges, self._points, self._pulls, self._strength)
        pushes, total = self._repulsion.push(self._points)
        _move(
            self._points,
            (self._pulls, pushes),
            self._strength,
            single(1 / total),
            single(pull),
            single(rate * len(self._points)),
            single(momentum),
            self._speed,
        )
        return total

    def _measure(self, total: float) -> float:
        """The divergence of Kullback and Leibler."""
        parts = np.empty(len(self._points))
        _measure_divergence(self._edges.starts, self._edges.targets, self._edges.weights, self._points, parts)
        return float(parts.sum()) + log(total)


def _find_exaggeration(iteration: int) -> float:
    """Whole, then less by the same share each time, then none."""
    eased = min(1.0, max(0, iteration - EXAGGERATED_ITERATIONS) / EASED_ITERATIONS)
    return float(EXAGGERATION ** (1 - eased))
