"""The stages of a layout, one after the other."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from app.projection import tsne_layout, umap_layout
from app.projection.aligning import align, measure_displacement
from app.projection.compiled import count_compilations, set_threads
from app.projection.layout import NEIGHBOURS, LayoutAnswer, LayoutRequest, Method
from app.projection.neighbours import EXACT_POINTS, Cells, Neighbours, find_exact, find_neighbours
from app.projection.placing import PLACED_BY, combine
from app.projection.principal import LEAST_SPREAD, Principal, find_finite, fit_principal, iterate_blocks
from app.projection.progress import ProgressFile
from app.projection.quality import measure_quality, measure_trust

log = structlog.get_logger(__name__)

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

THREADS = 2
"""Whatever the machine has: sums of another number of threads are others, and so are maps."""
WIDTH = 50
PRODUCTS_MAX = 160_000_000_000
"""Up to so many products, neighbours are found from whole vectors."""
POINTS_MIN = 5
"""Fewer have no neighbourhoods."""
POINTS_PER_BLOCK = 20_000


@dataclass(slots=True)
class _Work:
    """A layout in the making."""

    request: LayoutRequest
    progress: ProgressFile
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    degraded: str | None = None

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Callable[[int, int], None]]:
        begun = time.monotonic()
        self.progress.write(name, 0, total)
        yield lambda done, all_: self.progress.write(name, done, all_)
        self.progress.write(name, total, total)
        self.seconds[name] = time.monotonic() - begun


def make(request: LayoutRequest) -> LayoutAnswer:
    """See ``make_layout``."""
    compiled_before = count_compilations()
    set_threads(THREADS)
    with threadpool_limits(THREADS):
        work = _Work(request, ProgressFile(request.progress))
        vectors = np.load(Path(request.folder) / "vectors.npy", mmap_mode="r")
        with work.stage("reducing", len(vectors)):
            rows = find_finite(vectors)
            principal = fit_principal(vectors, rows, WIDTH)
        work.degraded = _find_reason(len(vectors), len(rows), principal, request.method)
        answer = _make(work, vectors, rows, principal)
    (Path(request.folder) / "reduced.f32").unlink(missing_ok=True)
    return replace(answer, warm=count_compilations() == compiled_before)


def _find_reason(points: int, finite: int, principal: Principal, method: Method) -> str | None:
    """Why the method cannot be used on these vectors."""
    if points and not finite:
        return "not_finite"
    if method is Method.PCA:
        return None
    if finite < POINTS_MIN:
        return "too_few_points"
    return "equal_vectors" if principal.spread <= LEAST_SPREAD else None


def _make(work: _Work, vectors: Floats, rows: Rows, principal: Principal) -> LayoutAnswer:
    request = work.request
    before = _read_before(request, rows)
    reduced = _reduce(request, vectors, rows, principal)
    sample = _choose(len(rows), request.sample, request.seed)
    points = np.ascontiguousarray(reduced[sample])
    laid_out, near = _lay_out(work, vectors, rows, points=points, sample=sample, before=before)
    coordinates, placed, neighbours = _place_rest(work, reduced, points, sample=sample, laid_out=laid_out, near=near)
    known: NDArray[np.bool_] = np.asarray(np.isfinite(before).all(axis=1))
    coordinates = align(coordinates, before, known)
    with work.stage("measuring", len(rows)):
        trust = measure_trust(coordinates, neighbours)
        quality = measure_quality(vectors, rows, coordinates, seed=request.seed)
    _write(
        request,
        len(vectors),
        rows,
        coordinates=coordinates,
        placed=placed,
        trust=trust,
        neighbours=neighbours,
    )
    return LayoutAnswer(
        method=Method.PCA if work.degraded else request.method,
        degraded=work.degraded,
        points=len(vectors),
        sampled=len(sample),
        left_out=len(vectors) - len(rows),
        notes=tuple(work.notes),
        quality=quality,
        displacement=measure_displacement(coordinates, before, known),
        seconds=work.seconds,
        warm=False,
    )


def _read_before(request: LayoutRequest, rows: Rows) -> Floats:
    """The map before, of these rows; NaN where there is none, or it is another kind of map."""
    nothing: Floats = np.full((len(rows), request.dimensions), np.nan, dtype=np.float32)
    if request.initial is None:
        return nothing
    before = np.load(request.initial, mmap_mode="r")
    if before.ndim != 2 or before.shape[1] != request.dimensions or (len(rows) and len(before) <= rows[-1]):
        return nothing
    return np.asarray(before[rows], dtype=np.float32)


def _reduce(request: LayoutRequest, vectors: Floats, rows: Rows, principal: Principal) -> Floats:
    """Main directions of every vector, in a file: of a million points they are 200 MB."""
    if not len(rows):
        return np.zeros((0, WIDTH), dtype=np.float32)
    path = Path(request.folder) / "reduced.f32"
    reduced = np.memmap(path, dtype=np.float32, mode="w+", shape=(len(rows), WIDTH))
    done = 0
    for some in iterate_blocks(rows, vectors.shape[1]):
        reduced[done : done + len(some)] = principal.apply(vectors[some], WIDTH)
        done += len(some)
    return reduced


def _choose(points: int, sample: int, seed: int) -> Rows:
    """Rows that are laid out, each as probable as any other, in order."""
    if points <= sample:
        return np.arange(points, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(points, sample, replace=False))


def _lay_out(
    work: _Work, vectors: Floats, rows: Rows, *, points: Floats, sample: Rows, before: Floats
) -> tuple[Floats, Neighbours]:
    """Coordinates of the sample, and its neighbours among itself."""
    request = work.request
    wanted = _count_neighbours(work, len(sample))
    with work.stage("neighbours", len(sample)) as told:
        whole = len(sample) <= EXACT_POINTS and len(sample) ** 2 * vectors.shape[1] <= PRODUCTS_MAX
        near = find_neighbours(np.asarray(vectors[rows[sample]]) if whole else points, wanted, told=told)
    start = points[:, : request.dimensions]
    if request.method is Method.PCA or work.degraded:
        return start, near
    known: NDArray[np.bool_] = np.asarray(np.isfinite(before[sample]).all(axis=1))
    continued = bool(known.mean() >= 0.5)
    if continued:
        start = _continue(before[sample], known, near)
    try:
        with work.stage("layout", 0) as told:
            laid_out = _run_method(request, points, near, start, continued=continued, told=told)
        if np.isfinite(laid_out).all():
            return laid_out, near
        log.error("layout_not_finite", method=request.method)
    except (ValueError, ArithmeticError, MemoryError, RuntimeError, AssertionError, TypeError, IndexError):
        log.exception("layout_failed", method=request.method)
    work.degraded = "layout_failed"
    return points[:, : request.dimensions], near


def _count_neighbours(work: _Work, points: int) -> int:
    """How many neighbours the method looks at; fewer where there are not so many points, which is noted."""
    request, most = work.request, max(0, points - 1)
    wanted = 0
    if request.method is Method.UMAP:
        wanted = request.parameters["n_neighbors"] - 1
        if wanted > most:
            work.notes.append(f"n_neighbors {most + 1} instead of {wanted + 1}: there are {points} points")
    if request.method is Method.TSNE:
        asked = request.parameters["perplexity"]
        wanted = int(3 * asked)
        if points and (used := tsne_layout.find_perplexity(asked, points)) < asked:
            work.notes.append(f"perplexity {used:.1f} instead of {asked:.1f}: there are {points} points")
    return min(max(wanted, NEIGHBOURS), most)


def _continue(before: Floats, known: NDArray[np.bool_], near: Neighbours) -> Floats:
    """Where the layout begins: points where they were, new ones by their neighbours that were there."""
    start: Floats = np.where(known[:, None], before, np.float32(0))
    start[~known] = start[known].mean(axis=0)
    rows = np.where((near.rows >= 0) & known[near.rows], near.rows, -1)
    nearest = np.argsort(rows < 0, axis=1, kind="stable")[:, :PLACED_BY]
    rows, distances = np.take_along_axis(rows, nearest, 1), np.take_along_axis(near.distances, nearest, 1)
    found = ~known & (rows >= 0).any(axis=1)
    start[found] = combine(before, rows[found], distances[found])
    return start


def _run_method(
    request: LayoutRequest,
    points: Floats,
    near: Neighbours,
    start: Floats,
    *,
    continued: bool,
    told: Callable[[int, int], None],
) -> Floats:
    if request.method is Method.UMAP:
        return umap_layout.lay_out(
            near, start, parameters=request.parameters, seed=request.seed, continued=continued, told=told
        )
    perplexity = tsne_layout.find_perplexity(request.parameters["perplexity"], len(points))
    used = Neighbours(rows=near.rows[:, : int(3 * perplexity)], distances=near.distances[:, : int(3 * perplexity)])
    iterations = request.parameters["iterations"]
    return tsne_layout.lay_out(
        used, start, perplexity=perplexity, iterations=iterations, continued=continued, told=told
    )


def _place_rest(
    work: _Work, reduced: Floats, points: Floats, *, sample: Rows, laid_out: Floats, near: Neighbours
) -> tuple[Floats, NDArray[np.uint8], NDArray[np.int32]]:
    """Coordinates and neighbours of all points, and which were placed; neighbours are rows of ``reduced``."""
    n = len(reduced)
    coordinates: Floats = np.empty((n, laid_out.shape[1]), dtype=np.float32)
    neighbours = np.full((n, NEIGHBOURS), -1, dtype=np.int32)
    kept = min(NEIGHBOURS, near.rows.shape[1])
    coordinates[sample], neighbours[sample, :kept] = laid_out, _translate(near.rows[:, :kept], sample)
    placed = np.ones(n, dtype=np.uint8)
    placed[sample] = 0
    rest = np.flatnonzero(placed)
    if not len(rest):
        return coordinates, placed, neighbours
    k = min(NEIGHBOURS, len(points))
    with work.stage("placing", len(rest)) as told:
        cells = Cells(points) if len(points) > EXACT_POINTS else None
        # cells are worth their look-up only for many queries at once
        step = POINTS_PER_BLOCK if cells is None else 10 * POINTS_PER_BLOCK
        for start in range(0, len(rest), step):
            some = rest[start : start + step]
            queries = np.ascontiguousarray(reduced[some])
            found = find_exact(points, queries, k) if cells is None else cells.search(queries, k)
            coordinates[some] = combine(laid_out, found.rows[:, :PLACED_BY], found.distances[:, :PLACED_BY])
            neighbours[some, :k] = _translate(found.rows, sample)
            told(start + len(some), len(rest))
    return coordinates, placed, neighbours


def _translate(rows: NDArray[np.int32], sample: Rows) -> NDArray[np.int32]:
    """Rows of the sample as rows of all."""
    if not len(sample):
        return rows
    return np.where(rows >= 0, sample[rows], -1).astype(np.int32)


def _write(
    request: LayoutRequest,
    points: int,
    rows: Rows,
    *,
    coordinates: Floats,
    placed: NDArray[np.uint8],
    trust: Floats,
    neighbours: NDArray[np.int32],
) -> None:
    """All points in their order; those without numbers are at the centre, trusted 0 and nobody's neighbour."""
    folder = Path(request.folder)
    everywhere: Floats = np.zeros((points, request.dimensions), dtype=np.float32)
    if len(rows):
        everywhere[:] = coordinates.mean(axis=0, dtype=np.float64)
    everywhere[rows] = coordinates
    all_trust, all_placed = np.zeros(points, dtype="<f4"), np.ones(points, dtype=np.uint8)
    all_trust[rows], all_placed[rows] = trust, placed
    all_neighbours = np.full((points, NEIGHBOURS), -1, dtype=np.int32)
    all_neighbours[rows] = _translate(neighbours, rows)
    np.save(folder / "coordinates.npy", everywhere)
    np.save(folder / "neighbours.npy", all_neighbours)
    all_trust.tofile(folder / "trust.f32")
    all_placed.tofile(folder / "placed.u8")
