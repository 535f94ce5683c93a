"""What pulls and pushes points of a t-SNE: along edges one by one, and between all points through a grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from app.projection.compiled import compiled, numba

Floats = NDArray[np.float32]

STEP = 0.75
"""Distance of grid nodes where a map is large; smaller maps have finer grids."""
NODES_MIN = {2: 48, 3: 20}
NODES_MAX = {2: 1000, 3: 44}
PAIRS_POINTS = 8000
MARGIN = 2
WORKERS = 2
SPARE = 1.06
OWN_NODES = 48
NARROW = 1.0
"""Below this span all pairs are so near that their potentials are told by what they lack of 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Of each row from ``starts`` on: where they lead and what they weigh, all of them together 1."""

    starts: NDArray[np.int32]
    targets: NDArray[np.int32]
    weights: Floats


@compiled(parallel=True, any_order=True)
def _attract_2d(starts, targets, weights, points, forces, strength):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0917 — numba's
    for i in numba.prange(points.shape[0]):
        px, py = points[i, 0], points[i, 1]
        x, y, all_pulls = np.float32(0), np.float32(0), np.float32(0)
        for edge in range(starts[i], starts[i + 1]):
            j = np.uint64(targets[edge])
            dx, dy = px - points[j, 0], py - points[j, 1]
            pull = weights[edge] / (np.float32(1) + dx * dx + dy * dy)
            all_pulls += pull
            x += pull * dx
            y += pull * dy
        strength[i] = all_pulls
        forces[i, 0] = x
        forces[i, 1] = y


@compiled(parallel=True, any_order=True)
def _attract_3d(starts, targets, weights, points, forces, strength):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0917 — numba's
    for i in numba.prange(points.shape[0]):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        x, y, z, all_pulls = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for edge in range(starts[i], starts[i + 1]):
            j = np.uint64(targets[edge])
            dx, dy, dz = px - points[j, 0], py - points[j, 1], pz - points[j, 2]
            pull = weights[edge] / (np.float32(1) + dx * dx + dy * dy + dz * dz)
            all_pulls += pull
            x += pull * dx
            y += pull * dy
            z += pull * dz
        strength[i] = all_pulls
        forces[i, 0] = x
        forces[i, 1] = y
        forces[i, 2] = z


@compiled()
def _weigh(at):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    """Cubic B-spline of four nodes around a point; ``at`` is how far it is from the second to the third."""
    one, three, four, six = np.float32(1), np.float32(3), np.float32(4), np.float32(6)
    rest = one - at
    return (
        rest * rest * rest / six,
        (three * at * at * at - six * at * at + four) / six,
        (three * rest * rest * rest - six * rest * rest + four) / six,
        at * at * at / six,
    )


@compiled()
def _slope(at):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    """Its derivative."""
    half, three, four = np.float32(0.5), np.float32(3), np.float32(4)
    rest = np.float32(1) - at
    return (
        -half * rest * rest,
        half * (three * at * at - four * at),
        half * (four * rest - three * rest * rest),
        half * at * at,
    )


@compiled()
def _bend(at):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    """What is alike and what is opposite on both halves of a cell; both are 0 on its nodes."""
    even = at * (np.float32(1) - at)
    return even, even * (np.float32(1) - at - at)


@compiled()
def _spread_2d(points, low, step, grid):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    finer = np.float32(1) / step
    for i in range(points.shape[0]):
        px, py = (points[i, 0] - low[0]) * finer, (points[i, 1] - low[1]) * finer
        nx, ny = np.int64(px), np.int64(py)
        wx, wy = _weigh(px - np.float32(nx)), _weigh(py - np.float32(ny))
        for a in range(4):
            for b in range(4):
                grid[nx + a - 1, ny + b - 1] += wx[a] * wy[b]


@compiled(parallel=True, any_order=True)
def _gather_2d(points, low, step, potential, own, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0917 — numba's
    """Of every point its potential, and half of how it falls along each axis, which is the sum of all pushes.

    Without the point's own share, which differs by where it lies between nodes; ``own`` is as ``_fit_own`` gives it.
    """
    finer = np.float32(1) / step
    for i in numba.prange(points.shape[0]):
        px, py = (points[i, 0] - low[0]) * finer, (points[i, 1] - low[1]) * finer
        nx, ny = np.int64(px), np.int64(py)
        wx, wy = _weigh(px - np.float32(nx)), _weigh(py - np.float32(ny))
        sx, sy = _slope(px - np.float32(nx)), _slope(py - np.float32(ny))
        total, x, y = np.float32(0), np.float32(0), np.float32(0)
        for a in range(4):
            along, falls = np.float32(0), np.float32(0)
            for b in range(4):
                here = potential[nx + a - 1, ny + b - 1]
                along += wy[b] * here
                falls += sy[b] * here
            total += wx[a] * along
            x += sx[a] * along
            y += wx[a] * falls
        (cx, odd_x), (cy, odd_y) = _bend(px - np.float32(nx)), _bend(py - np.float32(ny))
        c = cx + cy
        out[i, 0] = total - (own[0] + own[1] * c + own[2] * c * c)
        out[i, 1] = np.float32(-0.5) * finer * x - odd_x * (own[3] + own[4] * c + own[5] * cx)
        out[i, 2] = np.float32(-0.5) * finer * y - odd_y * (own[3] + own[4] * c + own[5] * cy)


@compiled()
def _spread_3d(points, low, step, grid):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    finer = np.float32(1) / step
    for i in range(points.shape[0]):
        px, py, pz = (points[i, 0] - low[0]) * finer, (points[i, 1] - low[1]) * finer, (points[i, 2] - low[2]) * finer
        nx, ny, nz = np.int64(px), np.int64(py), np.int64(pz)
        wx, wy, wz = _weigh(px - np.float32(nx)), _weigh(py - np.float32(ny)), _weigh(pz - np.float32(nz))
        for a in range(4):
            for b in range(4):
                for c in range(4):
                    grid[nx + a - 1, ny + b - 1, nz + c - 1] += wx[a] * wy[b] * wz[c]


@compiled(parallel=True, any_order=True)
def _gather_3d(points, low, step, potential, own, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0917 — numba's
    """See ``_gather_2d``."""
    finer = np.float32(1) / step
    for i in numba.prange(points.shape[0]):
        px, py, pz = (points[i, 0] - low[0]) * finer, (points[i, 1] - low[1]) * finer, (points[i, 2] - low[2]) * finer
        nx, ny, nz = np.int64(px), np.int64(py), np.int64(pz)
        wx, wy, wz = _weigh(px - np.float32(nx)), _weigh(py - np.float32(ny)), _weigh(pz - np.float32(nz))
        sx, sy, sz = _slope(px - np.float32(nx)), _slope(py - np.float32(ny)), _slope(pz - np.float32(nz))
        total, x, y, z = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for a in range(4):
            for b in range(4):
                along, falls = np.float32(0), np.float32(0)
                for c in range(4):
                    here = potential[nx + a - 1, ny + b - 1, nz + c - 1]
                    along += wz[c] * here
                    falls += sz[c] * here
                total += wx[a] * wy[b] * along
                x += sx[a] * wy[b] * along
                y += wx[a] * sy[b] * along
                z += wx[a] * wy[b] * falls
        (cx, odd_x), (cy, odd_y) = _bend(px - np.float32(nx)), _bend(py - np.float32(ny))
        cz, odd_z = _bend(pz - np.float32(nz))
        c = cx + cy + cz
        out[i, 0] = total - (own[0] + own[1] * c + own[2] * c * c)
        out[i, 1] = np.float32(-0.5) * finer * x - odd_x * (own[3] + own[4] * c + own[5] * cx)
        out[i, 2] = np.float32(-0.5) * finer * y - odd_y * (own[3] + own[4] * c + own[5] * cy)
        out[i, 3] = np.float32(-0.5) * finer * z - odd_z * (own[3] + own[4] * c + own[5] * cz)


@compiled(parallel=True, any_order=True)
def _push_all(x, y, z, fields):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    """Every pair."""
    for i in numba.prange(x.shape[0]):
        total, fx, fy, fz = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for j in range(x.shape[0]):
            dx, dy, dz = x[i] - x[j], y[i] - y[j], z[i] - z[j]
            near = np.float32(1) / (np.float32(1) + dx * dx + dy * dy + dz * dz)
            total += near
            fx += near * near * dx
            fy += near * near * dy
            fz += near * near * dz
        fields[i, 0] = total - np.float32(1)
        fields[i, 1] = fx
        fields[i, 2] = fy
        fields[i, 3] = fz


def attract(edges: Edges, points: Floats, forces: Floats, strength: Floats) -> None:
    """Along edges, row by row: weight / (1 + distance²); ``strength`` is the sum of these for each point."""
    pull = _attract_2d if points.shape[1] == 2 else _attract_3d
    pull(edges.starts, edges.targets, edges.weights, points, forces, strength)


class Repulsion:
    """Pushes between all pairs: 1 / (1 + distance²)², and the sum they are shares of.

    Pushes are how the potential falls, the sum of 1 / (1 + distance²), which is a convolution over a grid; or they are
    taken pair by pair where that is faster: few points in three dimensions. Interpolation is by cubic splines. The
    transform of the kernel is kept while the grid has the same step and size.
    """

    def __init__(self, dimensions: int, *, pairs: int = PAIRS_POINTS) -> None:
        self._dimensions = dimensions
        self._pairs = pairs
        self._grid: tuple[float, int, bool] = (0.0, 0, False)
        self._kernel: Floats = np.empty(0, dtype=np.float32)
        self._own: Floats = np.empty(0, dtype=np.float32)

    def push(self, points: Floats) -> tuple[Floats, float]:
        """Forces on every point, shape ``(n, dimensions)``, not yet divided by the sum; and the sum."""
        if self._dimensions == 3 and len(points) <= self._pairs:
            fields, missing = self._look_at_pairs(points), 0
        else:
            fields, missing = self._look_at_grid(points)
        total = float(fields[:, 0].sum(dtype=np.float64)) + missing
        return fields[:, 1:], max(total, 1e-6)

    def _look_at_pairs(self, points: Floats) -> Floats:
        fields: Floats = np.empty((len(points), 4), dtype=np.float32)
        x, y, z = np.ascontiguousarray(points.T)
        _push_all(x, y, z, fields)
        return fields

    def _look_at_grid(self, points: Floats) -> tuple[Floats, int]:
        """Fields of every point, and what the potentials lack: differences of large numbers would be lost."""
        low, high = points.min(axis=0), points.max(axis=0)
        dimensions, span = self._dimensions, float((high - low).max())
        narrow = span < NARROW
        step = _find_step(span, NODES_MIN[dimensions], NODES_MAX[dimensions])
        nodes = int(span / step) + 2 * MARGIN + 2
        size = self._prepare(step, nodes, narrow=narrow)
        low -= np.float32(MARGIN * step)
        fields: Floats = np.empty((len(points), dimensions + 1), dtype=np.float32)
        grid: Floats = np.zeros((nodes,) * dimensions, dtype=np.float32)
        (_spread_2d if dimensions == 2 else _spread_3d)(points, low, np.float32(step), grid)
        potential = self._convolve(grid, size)
        gather = _gather_2d if dimensions == 2 else _gather_3d
        gather(points, low, np.float32(step), potential, self._own, fields)
        return fields, len(points) * (len(points) - 1) if narrow else 0

    def _convolve(self, grid: Floats, size: int) -> Floats:
        """Half of what goes in is zero, and half of what comes out nobody reads: those are left out, axis by axis."""
        nodes, first = grid.shape[0], range(self._dimensions - 1)
        charges = fft.rfft(grid, n=size, axis=-1, workers=WORKERS)
        for axis in reversed(first):
            charges = fft.fft(charges, n=size, axis=axis, workers=WORKERS, overwrite_x=True)
        charges *= self._kernel
        for axis in first:
            charges = fft.ifft(charges, axis=axis, workers=WORKERS, overwrite_x=True)
            charges = charges[(slice(None),) * axis + (slice(nodes),)]
        potential: Floats = fft.irfft(charges, n=size, axis=-1, workers=WORKERS)
        return potential

    def _prepare(self, step: float, nodes: int, *, narrow: bool) -> int:
        """Size of the transforms: a little more than is needed, for maps grow."""
        before, size, was_narrow = self._grid
        if (before, was_narrow) == (step, narrow) and 2 * nodes <= size <= 2.4 * nodes + 16:
            return size
        size = int(fft.next_fast_len(int(SPARE * 2 * nodes), real=True))
        if (before, was_narrow) != (step, narrow):
            self._own = _fit_own(_make_kernel(step, OWN_NODES, self._dimensions, narrow=narrow), step)
        self._grid = (step, size, narrow)
        self._kernel = _make_kernel(step, size, self._dimensions, narrow=narrow)
        return size


def _find_step(span: float, least: int, most: int) -> float:
    """``STEP``, halved until a map has enough nodes, or grown until it has not too many."""
    step = STEP
    while span / step < least and step > 1e-6:
        step /= 2
    while span / step > most:
        step *= 1.1
    return step


def _add_axes(along: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    """The sums of a value for each axis, on all nodes."""
    total = np.zeros((1,) * dimensions)
    for each in np.meshgrid(*[along] * dimensions, indexing="ij", sparse=True):
        total = total + each
    return total


def _make_kernel(step: float, size: int, dimensions: int, *, narrow: bool) -> Floats:
    """Transform of 1 / (1 + distance²), less 1 if ``narrow``: the same from both sides, so it has no imaginary part."""
    along = np.fft.fftfreq(size, 1 / size) * step
    squares = _add_axes(along * along, dimensions)
    near = (-squares if narrow else 1) / (1 + squares)
    transform: Floats = fft.rfftn(near.astype(np.float32), workers=WORKERS).real
    # points are spread by splines and read by splines: without these, fields would be blurred by both
    blur = (2 + np.cos(2 * np.pi * np.fft.fftfreq(size))) / 3
    for axis in range(dimensions):
        last = axis == dimensions - 1
        shape = [-1 if each == axis else 1 for each in range(dimensions)]
        transform = transform / np.square(blur[: size // 2 + 1] if last else blur).astype(np.float32).reshape(shape)
    return np.ascontiguousarray(transform)


def _fit_own(kernel: Floats, step: float) -> Floats:
    """What a lone point would find of itself, by where it lies between nodes: coefficients of ``_bend``.

    Three of the potential and three of the push, which would be zero but for the grid.
    """
    dimensions = kernel.ndim
    near = fft.irfftn(kernel.astype(np.float64), s=(OWN_NODES,) * dimensions)
    near = near[np.ix_(*[range(-3, 4)] * dimensions)]
    at = (np.arange(8) + 0.5) / 8
    weights, slopes = np.stack(_weigh.py_func(at), 1), np.stack(_slope.py_func(at), 1)
    met, moved = (
        np.stack([sum(read[:, a] * weights[:, a + u] for a in range(4) if 0 <= a + u < 4) for u in range(-3, 4)], 1)
        for read in (weights, slopes)
    )
    potential, push = near, near
    for axis in range(dimensions):
        potential = np.tensordot(potential, met, (0, 1))
        push = np.tensordot(push, moved if axis == 0 else met, (0, 1))
    even = at * (1 - at)
    total = _add_axes(even, dimensions).ravel()
    first = np.meshgrid(*[at] * dimensions, indexing="ij")[0].ravel()
    odd = first * (1 - first) * (1 - 2 * first)
    own = np.linalg.lstsq(np.stack([np.ones_like(total), total, total**2], 1), potential.ravel(), rcond=None)[0]
    pushed = np.stack([odd, odd * total, odd * first * (1 - first)], 1)
    pushes = np.linalg.lstsq(pushed, -0.5 / step * push.ravel(), rcond=None)[0]
    return np.concatenate([own, pushes]).astype(np.float32)
