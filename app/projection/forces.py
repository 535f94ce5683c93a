"""What pulls and pushes points of a t-SNE: along edges one by one, and between all points through a grid."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from app.projection.compiled import compiled, numba

Floats = NDArray[np.float32]

STEP = 0.5
"""Distance of grid nodes where a map is large; smaller maps have finer grids."""
NODES_MIN = {2: 48, 3: 20}
NODES_MAX = {2: 1000, 3: 44}
PAIRS_POINTS = 8000
MARGIN = 2
WORKERS = 2


@compiled(parallel=True)
def attract(starts, targets, weights, points, forces):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 — numba's
    """Along edges, row by row: weight / (1 + distance²)."""
    for i in numba.prange(points.shape[0]):
        x, y, z = np.float32(0), np.float32(0), np.float32(0)
        if points.shape[1] == 2:
            for edge in range(starts[i], starts[i + 1]):
                j = targets[edge]
                dx = points[i, 0] - points[j, 0]
                dy = points[i, 1] - points[j, 1]
                pull = weights[edge] / (np.float32(1) + dx * dx + dy * dy)
                x += pull * dx
                y += pull * dy
        else:
            for edge in range(starts[i], starts[i + 1]):
                j = targets[edge]
                dx = points[i, 0] - points[j, 0]
                dy = points[i, 1] - points[j, 1]
                dz = points[i, 2] - points[j, 2]
                pull = weights[edge] / (np.float32(1) + dx * dx + dy * dy + dz * dz)
                x += pull * dx
                y += pull * dy
                z += pull * dz
            forces[i, 2] = z
        forces[i, 0] = x
        forces[i, 1] = y


@compiled()
def _weigh(at, weights):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    """Cubic B-spline of four nodes around a point; ``at`` is how far it is from the second to the third."""
    rest = 1 - at
    weights[0] = rest * rest * rest / 6
    weights[1] = (3 * at * at * at - 6 * at * at + 4) / 6
    weights[2] = (3 * rest * rest * rest - 6 * rest * rest + 4) / 6
    weights[3] = at * at * at / 6


@compiled()
def _spread_2d(points, low, step, grid):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    wx, wy = np.empty(4, np.float32), np.empty(4, np.float32)
    for i in range(points.shape[0]):
        px, py = (points[i, 0] - low[0]) / step, (points[i, 1] - low[1]) / step
        nx, ny = int(px), int(py)
        _weigh(px - nx, wx)
        _weigh(py - ny, wy)
        for a in range(4):
            for b in range(4):
                grid[nx + a - 1, ny + b - 1] += wx[a] * wy[b]


@compiled(parallel=True)
def _gather_2d(points, low, step, fields, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    for i in numba.prange(points.shape[0]):
        wx, wy = np.empty(4, np.float32), np.empty(4, np.float32)
        px, py = (points[i, 0] - low[0]) / step, (points[i, 1] - low[1]) / step
        nx, ny = int(px), int(py)
        _weigh(px - nx, wx)
        _weigh(py - ny, wy)
        for field in range(3):
            total = np.float32(0)
            for a in range(4):
                for b in range(4):
                    total += wx[a] * wy[b] * fields[field, nx + a - 1, ny + b - 1]
            out[i, field] = total


@compiled()
def _spread_3d(points, low, step, grid):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    wx, wy, wz = np.empty(4, np.float32), np.empty(4, np.float32), np.empty(4, np.float32)
    for i in range(points.shape[0]):
        px, py, pz = (points[i, 0] - low[0]) / step, (points[i, 1] - low[1]) / step, (points[i, 2] - low[2]) / step
        nx, ny, nz = int(px), int(py), int(pz)
        _weigh(px - nx, wx)
        _weigh(py - ny, wy)
        _weigh(pz - nz, wz)
        for a in range(4):
            for b in range(4):
                for c in range(4):
                    grid[nx + a - 1, ny + b - 1, nz + c - 1] += wx[a] * wy[b] * wz[c]


@compiled(parallel=True)
def _gather_3d(points, low, step, fields, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    for i in numba.prange(points.shape[0]):
        wx, wy, wz = np.empty(4, np.float32), np.empty(4, np.float32), np.empty(4, np.float32)
        px, py, pz = (points[i, 0] - low[0]) / step, (points[i, 1] - low[1]) / step, (points[i, 2] - low[2]) / step
        nx, ny, nz = int(px), int(py), int(pz)
        _weigh(px - nx, wx)
        _weigh(py - ny, wy)
        _weigh(pz - nz, wz)
        for field in range(4):
            total = np.float32(0)
            for a in range(4):
                for b in range(4):
                    for c in range(4):
                        total += wx[a] * wy[b] * wz[c] * fields[field, nx + a - 1, ny + b - 1, nz + c - 1]
            out[i, field] = total


@compiled(parallel=True, any_order=True)
def _push_all(x, y, z, fields):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — numba's
    """Every pair; a point's own field is among its fields, as it is with a grid."""
    for i in numba.prange(x.shape[0]):
        total, fx, fy, fz = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for j in range(x.shape[0]):
            dx, dy, dz = x[i] - x[j], y[i] - y[j], z[i] - z[j]
            near = np.float32(1) / (np.float32(1) + dx * dx + dy * dy + dz * dz)
            total += near
            fx += near * near * dx
            fy += near * near * dy
            fz += near * near * dz
        fields[i, 0] = total
        fields[i, 1] = fx
        fields[i, 2] = fy
        fields[i, 3] = fz


class Repulsion:
    """Pushes between all pairs: 1 / (1 + distance²)², and the sum they are shares of.

    By convolutions over a grid, or pair by pair where that is faster: few points in three dimensions. Interpolation is
    by cubic splines. The transforms of the two kernels are kept while the grid has the same step and size.
    """

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._grid: tuple[float, int] = (0.0, 0)
        self._kernels: NDArray[np.complex64] = np.empty(0, dtype=np.complex64)

    def push(self, points: Floats) -> tuple[Floats, float]:
        """Forces on every point, shape ``(n, dimensions)``, not yet divided by the sum; and the sum."""
        fields = self._look_at_pairs(points) if self._is_small(points) else self._look_at_grid(points)
        # a point is in its own field too
        return fields[:, 1:], max(float(fields[:, 0].sum(dtype=np.float64)) - len(points), 1e-6)

    def _is_small(self, points: Floats) -> bool:
        return self._dimensions == 3 and len(points) <= PAIRS_POINTS

    def _look_at_pairs(self, points: Floats) -> Floats:
        fields: Floats = np.empty((len(points), 4), dtype=np.float32)
        x, y, z = np.ascontiguousarray(points.T)
        _push_all(x, y, z, fields)
        return fields

    def _look_at_grid(self, points: Floats) -> Floats:
        low, high = points.min(axis=0), points.max(axis=0)
        dimensions, span = self._dimensions, float((high - low).max())
        step = max(_find_step(span, NODES_MIN[dimensions]), span / (NODES_MAX[dimensions] - 2 * MARGIN - 2))
        nodes = int(span / step) + 2 * MARGIN + 2
        size = fft.next_fast_len(-(-2 * nodes // 16) * 16, real=True)
        self._prepare(step, size)
        low -= np.float32(MARGIN * step)
        return self._convolve(points, low, np.float32(step), nodes, size)

    def _convolve(self, points: Floats, low: Floats, step: np.float32, nodes: int, size: int) -> Floats:
        dimensions = self._dimensions
        grid: Floats = np.zeros((nodes,) * dimensions, dtype=np.float32)
        fields: Floats = np.empty((len(points), dimensions + 1), dtype=np.float32)
        (_spread_2d if dimensions == 2 else _spread_3d)(points, low, step, grid)
        axes = tuple(range(1, dimensions + 1))
        charges = fft.rfftn(grid, s=(size,) * dimensions, workers=WORKERS)
        everywhere = fft.irfftn(self._kernels * charges, s=(size,) * dimensions, axes=axes, workers=WORKERS)
        (_gather_2d if dimensions == 2 else _gather_3d)(points, low, step, everywhere, fields)
        return fields

    def _prepare(self, step: float, size: int) -> None:
        if self._grid == (step, size):
            return
        self._grid = (step, size)
        along = np.fft.fftfreq(size, 1 / size) * step
        offsets = np.meshgrid(*[along] * self._dimensions, indexing="ij", sparse=True)
        near = 1 / (1 + sum(offset * offset for offset in offsets))
        kernels = np.stack([near, *[offset * near * near for offset in offsets]]).astype(np.float32)
        transforms = fft.rfftn(kernels, axes=tuple(range(1, self._dimensions + 1)), workers=WORKERS)
        # points are spread by splines and read by splines: without these, fields would be blurred by both
        blur = (2 + np.cos(2 * np.pi * np.fft.fftfreq(size))) / 3
        for axis in range(self._dimensions):
            last = axis == self._dimensions - 1
            shape = [-1 if each == axis else 1 for each in range(self._dimensions)]
            transforms /= np.square(blur[: size // 2 + 1] if last else blur).astype(np.float32).reshape(shape)
        self._kernels = transforms


def _find_step(span: float, nodes: int) -> float:
    """``STEP`` halved until a map has enough nodes."""
    step = STEP
    while span / step < nodes and step > 1e-6:
        step /= 2
    return step
