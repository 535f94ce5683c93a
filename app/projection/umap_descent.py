"""UMAP's way down over a given graph: umap-learn's steps, by any number of threads to the same end.

Points are in blocks. In each round of an epoch every block meets one other, so that pairs of blocks share no point and
edges between them can be walked at once, both ends of each moved as umap-learn does. Random points, which push, are
seen where they were before the epoch.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from app.projection.compiled import compiled, numba

Floats = NDArray[np.float32]
Told = Callable[[int, int], None]

BLOCKS = 7
"""Odd: two that meet in a round are told by how far their numbers are apart."""
SHARED_POINTS = 20_000
"""Fewer are walked by one thread: where a machine is busy, threads wait longer for each other than they work."""
PUSHES = 5
"""Random points for each edge that pulls."""
LONGEST = np.float32(4)
"""Of a push along one axis."""

LEAST, MOST = 2.0**-14, 2.0**16
"""Squared distances that forces are known for; beyond they are those of the ends."""
DROPPED_BITS = 16
"""Of a squared distance as float32: what is left, exponent and seven digits, is its place in the tables of forces."""
FIRST, LAST = (int(np.float32(end).view(np.int32)) >> DROPPED_BITS for end in (LEAST, MOST))


@compiled()
def _look_up(forces, squared):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    place = (np.float32(squared).view(np.int32) >> DROPPED_BITS) - FIRST
    return forces[min(max(place, 0), forces.shape[0] - 1)]


@compiled()
def _shorten(push):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    return min(max(push, -LONGEST), LONGEST)


@compiled()
def _mix(state):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    """Splitmix64: numbers that follow each other give such as do not."""
    state *= np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@compiled()
def _read(points, i, axes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    """A place, which in two dimensions has a third coordinate of nothing."""
    return points[i, 0], points[i, 1], points[i, 2] if len(axes) == 3 else np.float32(0)


@compiled()
def _write(points, i, at, axes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    for axis in range(len(axes)):
        points[i, axis] = at[axis]


@compiled()
def _go(at, step, rate):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    return at[0] + rate * step[0], at[1] + rate * step[1], at[2] + rate * step[2]


@compiled()
def _find_pull(at, other, forces):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    """The step of one end of an edge towards the other, that makes the same step the other way."""
    x, y, z = other[0] - at[0], other[1] - at[1], other[2] - at[2]
    force = _look_up(forces, x * x + y * y + z * z)
    return force * x, force * y, force * z


@compiled()
def _find_push(at, i, others, forces, state, axes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0917 — numba's
    """The step away from random others."""
    count = np.uint64(others.shape[0])
    sum_x, sum_y, sum_z = np.float32(0), np.float32(0), np.float32(0)
    for _ in range(PUSHES):
        state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        other = np.int64(((state >> np.uint64(32)) * count) >> np.uint64(32))
        if other != i:
            there = _read(others, other, axes)
            x, y, z = at[0] - there[0], at[1] - there[1], at[2] - there[2]
            force = _look_up(forces, x * x + y * y + z * z)
            sum_x += _shorten(force * x)
            sum_y += _shorten(force * y)
            sum_z += _shorten(force * z)
    return sum_x, sum_y, sum_z


@compiled(parallel=True)
def _run_epoch(bounds, edges, points, others, forces, rate, epoch, seed, axes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0917 — numba's
    """Walk the edges that are due: each in its share of all epochs."""
    heads, tails, shares = edges
    pulls, pushes = forces
    now, before = np.float32(epoch), np.float32(epoch - 1)
    for turn in range(bounds.shape[0]):
        for pair in numba.prange(bounds.shape[1] - 1):
            for edge in range(bounds[turn, pair], bounds[turn, pair + 1]):
                if int(now * shares[edge]) == int(before * shares[edge]):
                    continue
                state = _mix(np.uint64(seed) + (np.uint64(epoch) << np.uint64(40)) + np.uint64(edge))
                i, j = heads[edge], tails[edge]
                one, other = _read(points, i, axes), _read(points, j, axes)
                pull = _find_pull(one, other, pulls)
                _write(points, j, _go(other, pull, -rate), axes)
                one = _go(one, pull, rate)
                _write(points, i, _go(one, _find_push(one, i, others, pushes, state, axes), rate), axes)


class Descent:
    """Edges by the rounds in which they are walked, and forces by distance.

    Args:
        graph: symmetric weights of edges, shape ``(n, n)``.
        curve: a and b of ``1 / (1 + a * distance ** (2 * b))``, which is how near points seem to be.
        epochs: how many there will be; edges that are never due are dropped.
    """

    def __init__(self, graph: sparse.csr_array, curve: tuple[float, float], epochs: int) -> None:
        edges = graph.tocoo()
        used = edges.data >= edges.data.max(initial=0) / epochs
        heads, tails, weights = edges.row[used], edges.col[used], edges.data[used]
        one, other = heads % BLOCKS, tails % BLOCKS
        apart = (one - other) % BLOCKS
        pairs = BLOCKS // 2 + 1
        turns = (one + other) % BLOCKS * pairs + np.minimum(apart, BLOCKS - apart)
        order = np.argsort(turns, kind="stable")
        ends = np.searchsorted(turns[order], np.arange(BLOCKS * pairs + 1))
        self._bounds = ends[np.arange(BLOCKS)[:, None] * pairs + np.arange(pairs + 1)]
        shares = weights / weights.max(initial=0)
        self._edges = tuple(
            np.ascontiguousarray(values[order], dtype=kind)
            for values, kind in ((heads, np.int32), (tails, np.int32), (shares, np.float32))
        )
        self._forces = _weigh_distances(*curve)
        self._epochs = epochs

    def run(self, start: Floats, *, rate: float, seed: int, told: Told) -> Floats:
        """Coordinates of all points.

        Args:
            start: shape ``(n, dimensions)``, about ten wide.
            rate: of the first epoch; it falls to nothing.
            seed: the same gives the same, with any number of threads.
            told: called with epochs that are done, and all.
        """
        points = np.array(start, dtype=np.float32, order="C")
        axes = (0,) * points.shape[1]
        threads = numba.get_num_threads()
        numba.set_num_threads(threads if len(points) >= SHARED_POINTS else 1)
        try:
            for epoch in range(1, self._epochs + 1):
                left = np.float32(rate * (1 - (epoch - 1) / self._epochs))
                _run_epoch(self._bounds, self._edges, points, points.copy(), self._forces, left, epoch, seed, axes)
                told(epoch, self._epochs)
        finally:
            numba.set_num_threads(threads)
        return points


def _weigh_distances(a: float, b: float) -> tuple[Floats, Floats]:
    """What pulls and what pushes, as multiples of the way from one point to the other; see umap-learn."""
    # the middle of what has the same place
    bits = (np.arange(FIRST, LAST, dtype=np.int32) << DROPPED_BITS) + (1 << (DROPPED_BITS - 1))
    squared = bits.astype(np.int32).view(np.float32).astype(np.float64)
    near = 1 + a * squared**b
    return (
        (2 * a * b * squared ** (b - 1) / near).astype(np.float32),
        (2 * b / ((0.001 + squared) * near)).astype(np.float32),
    )
