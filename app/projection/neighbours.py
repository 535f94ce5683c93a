"""Nearest neighbours: exact by matrix products, and among many points by cells that are near."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.projection.compiled import compiled, numba

Floats = NDArray[np.float32]
Rows = NDArray[np.int32]
Told = Callable[[int, int], None]

EXACT_POINTS = 20_000
"""Up to here every pair of points is looked at."""
PROBED = 24
"""Cells that are searched for the points of one."""
NUMBERS_PER_BLOCK = 16_000_000
ROUNDS = 5
FAR = np.float32(0.05)
"""Of the square of a point: squared distances beyond that are told by products to four digits."""
POINTS_PER_CELL_LOOKED_AT = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Rows int32 and distances float32, both ``(n, k)``, nearest first; rows are -1 where there are no more."""

    rows: Rows
    distances: Floats


@compiled(parallel=True)
def _keep_best(scores, columns, own, best, rows):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    """Merge a block of scores into the best so far; ``own`` is the column each row may not find."""
    k = best.shape[1]
    for i in numba.prange(scores.shape[0]):
        worst = best[i, k - 1]
        for j in range(scores.shape[1]):
            score = scores[i, j]
            if score > worst and columns[j] != own[i]:
                at = k - 1
                while at > 0 and best[i, at - 1] < score:
                    best[i, at] = best[i, at - 1]
                    rows[i, at] = rows[i, at - 1]
                    at -= 1
                best[i, at] = score
                rows[i, at] = columns[j]
                worst = best[i, k - 1]


@compiled(parallel=True)
def _measure(queries, points, rows, best, distances):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    """Distances from scores, and from differences where points are near: there products lose too many digits."""
    for i in numba.prange(rows.shape[0]):
        square = np.float32(0)
        for d in range(queries.shape[1]):
            square += queries[i, d] * queries[i, d]
        for j in range(rows.shape[1]):
            if rows[i, j] < 0:
                distances[i, j] = np.inf
                continue
            squared = square - np.float32(2) * best[i, j]
            if squared > FAR * square:
                distances[i, j] = np.sqrt(squared)
                continue
            total = np.float32(0)
            for d in range(points.shape[1]):
                difference = queries[i, d] - points[rows[i, j], d]
                total += difference * difference
            distances[i, j] = np.sqrt(total)


def _nothing(_done: int, _total: int) -> None:
    """Nobody is told."""


class _Best:
    """The best of some queries while blocks of points go by."""

    def __init__(self, queries: Floats, own: Rows, k: int) -> None:
        self.queries = queries
        self._own = own
        self._best = np.full((len(queries), k), -np.inf, dtype=np.float32)
        self.rows: Rows = np.full((len(queries), k), -1, dtype=np.int32)

    def look_at(self, points: Floats, columns: Rows) -> None:
        """Twice the product less the square of a point orders as the distance does."""
        halves = np.float32(0.5) * np.einsum("nd,nd->n", points, points)
        step = max(1, NUMBERS_PER_BLOCK // max(1, len(points)))
        for start in range(0, len(self.queries), step):
            some = slice(start, start + step)
            scores = self.queries[some] @ points.T
            scores -= halves
            _keep_best(scores, columns, self._own[some], self._best[some], self.rows[some])

    def measure(self, points: Floats) -> Neighbours:
        """What was found, with distances."""
        distances: Floats = np.empty(self.rows.shape, dtype=np.float32)
        _measure(self.queries, points, self.rows, self._best, distances)
        order = np.argsort(distances, axis=1, kind="stable")
        return Neighbours(
            rows=np.take_along_axis(self.rows, order, 1), distances=np.take_along_axis(distances, order, 1)
        )


def find_neighbours(points: Floats, k: int, *, told: Told = _nothing) -> Neighbours:
    """The ``k`` nearest of every point among the others.

    Args:
        points: shape ``(n, width)``, in memory.
        k: how many; where there are fewer, rows end with -1.
        told: called with points that are done, and all.
    """
    everything = np.arange(len(points), dtype=np.int32)
    if len(points) > EXACT_POINTS:
        return Cells(points).search(points, k, own=everything, told=told)
    return find_exact(points, points, k, own=everything, told=told)


def find_exact(
    points: Floats, queries: Floats, k: int, *, own: Rows | None = None, told: Told = _nothing
) -> Neighbours:
    """The ``k`` nearest points of every query, except its own row if that is given."""
    points = np.ascontiguousarray(points, dtype=np.float32)
    own = np.full(len(queries), -1, dtype=np.int32) if own is None else own
    columns = np.arange(len(points), dtype=np.int32)
    step = max(1, NUMBERS_PER_BLOCK // max(1, len(points)))
    found = []
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        best = _Best(np.ascontiguousarray(queries[some], dtype=np.float32), own[some], k)
        best.look_at(points, columns)
        found.append(best.measure(points))
        told(min(start + step, len(queries)), len(queries))
    return join(found, k)


def join(found: list[Neighbours], k: int) -> Neighbours:
    """Blocks one below the other."""
    if not found:
        return Neighbours(rows=np.empty((0, k), dtype=np.int32), distances=np.empty((0, k), dtype=np.float32))
    return Neighbours(
        rows=np.concatenate([each.rows for each in found]), distances=np.concatenate([each.distances for each in found])
    )


class Cells:
    """Points by the nearest of about √n centres; queries look at the cells that are nearest to theirs.

    The same points give the same cells.
    """

    def __init__(self, points: Floats) -> None:
        self._points = points
        count = max(1, int(len(points) ** 0.5))
        random = np.random.default_rng(0)
        looked_at = random.choice(len(points), min(len(points), count * POINTS_PER_CELL_LOOKED_AT), replace=False)
        looked_at.sort()
        self._centres = _find_centres(points[looked_at], count, random)
        cells = assign(points, self._centres)
        self._members = np.argsort(cells, kind="stable").astype(np.int32)
        self._starts = np.searchsorted(cells[self._members], np.arange(count + 1))
        self._near = _order_cells(self._centres)

    def search(self, queries: Floats, k: int, *, own: Rows | None = None, told: Told = _nothing) -> Neighbours:
        """The ``k`` nearest points of every query, nearly always; see ``find_exact``."""
        own = np.full(len(queries), -1, dtype=np.int32) if own is None else own
        cells = assign(queries, self._centres)
        order = np.argsort(cells, kind="stable")
        bounds = np.searchsorted(cells[order], np.arange(len(self._centres) + 1))
        rows: Rows = np.full((len(queries), k), -1, dtype=np.int32)
        distances: Floats = np.full((len(queries), k), np.inf, dtype=np.float32)
        for cell in range(len(self._centres)):
            asking = order[bounds[cell] : bounds[cell + 1]]
            if not len(asking):
                continue
            best = _Best(queries[asking], own[asking], k)
            candidates = self._list_candidates(cell, k + 1)
            best.look_at(self._points[candidates], candidates)
            found = best.measure(self._points)
            rows[asking], distances[asking] = found.rows, found.distances
            told(int(bounds[cell + 1]), len(queries))
        return Neighbours(rows=rows, distances=distances)

    def _list_candidates(self, cell: int, least: int) -> Rows:
        near = self._near[cell]
        sizes = np.cumsum(self._starts[near + 1] - self._starts[near])
        enough = int(np.searchsorted(sizes, least)) + 1
        return np.concatenate(
            [self._members[self._starts[each] : self._starts[each + 1]] for each in near[: max(PROBED, enough)]]
        )


def assign(points: Floats, centres: Floats) -> NDArray[np.int64]:
    """The nearest centre of every point."""
    halves = np.float32(0.5) * np.einsum("nd,nd->n", centres, centres)
    step = max(1, NUMBERS_PER_BLOCK // len(centres))
    cells = [
        (points[start : start + step] @ centres.T - halves).argmax(axis=1) for start in range(0, len(points), step)
    ]
    return np.concatenate(cells) if cells else np.empty(0, dtype=np.int64)


def _find_centres(points: Floats, count: int, random: np.random.Generator) -> Floats:
    """A few rounds of k-means; a centre without points stays where it is."""
    centres = points[np.sort(random.choice(len(points), count, replace=False))]
    for _ in range(ROUNDS):
        cells = assign(points, centres)
        order = np.argsort(cells, kind="stable")
        used, starts = np.unique(cells[order], return_index=True)
        sums = np.add.reduceat(points[order].astype(np.float64), starts, axis=0)
        sizes = np.diff(np.append(starts, len(points)))
        centres = centres.copy()
        centres[used] = sums / sizes[:, None]
    return centres


def _order_cells(centres: Floats) -> NDArray[np.int64]:
    halves = np.float32(0.5) * np.einsum("nd,nd->n", centres, centres)
    return np.argsort(halves - centres @ centres.T, axis=1, kind="stable")
