"""Layouts of real vectors: every method in two and three dimensions, deterministic, stable, and honest about itself."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.processes.pool import ProcessPool
from app.projection import tsne_layout
from app.projection.aligning import align
from app.projection.layout import LayoutRequest, Method, make_first_map, make_layout
from app.projection.neighbours import find_neighbours
from app.projection.parameters import check_parameters
from app.projection.placing import place
from app.projection.progress import ProgressFile
from tests.harness import wait_until

# where nothing is compiled yet, the first layouts take as long as that does
pytestmark = pytest.mark.timeout(400)

Floats = NDArray[np.float32]

SHORT = {Method.UMAP: {"epochs": 60}, Method.TSNE: {"iterations": 300}, Method.PCA: {}}
TOPICS = 8


def draw(n: int, seed: int = 0) -> Floats:
    """Normalised vectors of eight topics."""
    random = np.random.default_rng(seed)
    topics = np.random.default_rng(7).normal(size=(TOPICS, 48))
    vectors = topics[np.arange(n) % TOPICS] + 0.6 * random.normal(size=(n, 48))
    normalised: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return normalised


def ask(folder: Path, method: Method, *, dimensions: int = 2, sample: int = 10_000) -> LayoutRequest:
    """A short layout."""
    parameters = check_parameters(method, dimensions, SHORT[method], sample)
    return LayoutRequest(
        method=method, dimensions=dimensions, parameters=parameters, seed=3, folder=str(folder), sample=sample
    )


def read(folder: Path) -> Floats:
    """The coordinates that were made."""
    coordinates: Floats = np.load(folder / "coordinates.npy")
    return coordinates


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("method", list(Method))
def test_neighbours_stay_neighbours(tmp_path: Path, method: Method, dimensions: int) -> None:
    """A layout shows topics as they are, and all its files agree with the points."""
    np.save(tmp_path / "vectors.npy", draw(400))

    answer = make_layout(ask(tmp_path, method, dimensions=dimensions))

    coordinates, neighbours = read(tmp_path), np.load(tmp_path / "neighbours.npy")
    assert (answer.method, answer.degraded, answer.points, answer.sampled) == (method, None, 400, 400)
    assert coordinates.shape == (400, dimensions)
    assert coordinates.dtype == np.float32
    assert np.isfinite(coordinates).all()
    assert answer.quality["trustworthiness@15"] > (0.75 if method is Method.PCA else 0.93)
    # the 15 nearest are of the same topic, and none is the point itself
    assert (neighbours % TOPICS == np.arange(400)[:, None] % TOPICS).mean() > 0.99
    assert (neighbours != np.arange(400)[:, None]).all()
    assert not (tmp_path / "reduced.f32").exists()


@pytest.mark.parametrize("method", list(Method))
def test_a_seed_repeats(tmp_path: Path, method: Method) -> None:
    """The same request over the same vectors gives the same bytes."""
    np.save(tmp_path / "vectors.npy", draw(200))

    make_layout(ask(tmp_path, method))
    once = (tmp_path / "coordinates.npy").read_bytes()
    make_layout(ask(tmp_path, method))

    assert (tmp_path / "coordinates.npy").read_bytes() == once


def test_a_tsne_ends_where_little_is_gained() -> None:
    """Long before the most iterations that it may take; what is told grows, and ends with all of them."""
    vectors = draw(400)
    told: list[tuple[int, int]] = []

    tsne_layout.lay_out(
        find_neighbours(vectors, 30),
        np.ascontiguousarray(vectors[:, :2]),
        perplexity=10,
        iterations=5000,
        continued=False,
        told=lambda done, all_: told.append((done, all_)),
    )

    done = [each for each, _ in told]
    assert 250 <= len(told) < 2500
    assert done == sorted(done)
    assert {all_ for _, all_ in told} == {5000}
    assert done[-1] == 5000


@pytest.mark.parametrize("method", list(Method))
def test_the_rest_is_placed_by_its_neighbours(tmp_path: Path, method: Method) -> None:
    """Points beyond the sample lie among their topic, and are marked."""
    np.save(tmp_path / "vectors.npy", draw(600))

    answer = make_layout(ask(tmp_path, method, sample=300))

    placed = np.fromfile(tmp_path / "placed.u8", dtype=np.uint8).astype(bool)
    neighbours = np.load(tmp_path / "neighbours.npy")
    assert answer.sampled == 300
    assert placed.sum() == 300
    assert not placed[:300].all()
    assert not placed[300:].all()
    assert not placed[neighbours].any()
    assert answer.quality["trustworthiness@15"] > (0.75 if method is Method.PCA else 0.9)


@pytest.mark.parametrize("method", list(Method))
def test_a_map_stays_where_it_was(tmp_path: Path, method: Method) -> None:
    """With a few new points the others move little as people see it, and quality is kept."""
    old, new = draw(400), draw(8, seed=1)
    np.save(tmp_path / "vectors.npy", old)
    fresh = make_layout(ask(tmp_path, method))
    # as it was kept, mirrored, turned and larger: the new one follows it
    before = np.concatenate([read(tmp_path) @ np.array([[0, 3], [3, 0]], np.float32) + 7, np.full((8, 2), np.nan)])
    np.save(tmp_path / "before.npy", before.astype(np.float32))
    np.save(tmp_path / "vectors.npy", np.concatenate([old, new]))

    answer = make_layout(replace(ask(tmp_path, method), initial=str(tmp_path / "before.npy")))

    assert answer.displacement["median"] <= 0.1
    assert answer.quality["trustworthiness@15"] > fresh.quality["trustworthiness@15"] - 0.03
    assert np.isfinite(read(tmp_path)).all()


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 7])
def test_few_points(tmp_path: Path, method: Method, n: int) -> None:
    """Every number of points has a map; one that is not as it was asked for says so."""
    np.save(tmp_path / "vectors.npy", draw(n))

    answer = make_layout(ask(tmp_path, method))

    assert read(tmp_path).shape == (n, 2)
    assert np.isfinite(read(tmp_path)).all()
    assert len(np.fromfile(tmp_path / "trust.f32", dtype="<f4")) == n
    if method is Method.PCA or n == 7:
        assert (answer.method, answer.degraded) == (method, None)
        assert bool(answer.notes) == (method is not Method.PCA)
    else:
        assert (answer.method, answer.degraded) == (Method.PCA, "too_few_points")


@pytest.mark.parametrize("method", [Method.UMAP, Method.TSNE])
def test_equal_vectors(tmp_path: Path, method: Method) -> None:
    """Points that are all the same lie at one place."""
    np.save(tmp_path / "vectors.npy", np.tile(draw(1), (50, 1)))

    answer = make_layout(ask(tmp_path, method))

    assert (answer.method, answer.degraded) == (Method.PCA, "equal_vectors")
    assert np.ptp(read(tmp_path), axis=0).max() < 1e-5


@pytest.mark.parametrize("method", [Method.UMAP, Method.TSNE])
def test_many_duplicates(tmp_path: Path, method: Method) -> None:
    """A layout bears points that are the same."""
    np.save(tmp_path / "vectors.npy", np.concatenate([np.tile(draw(2), (60, 1)), draw(80, seed=2)]))

    answer = make_layout(ask(tmp_path, method))

    assert answer.degraded is None
    assert np.isfinite(read(tmp_path)).all()


@pytest.mark.parametrize("method", list(Method))
def test_what_is_no_number_is_left_out(tmp_path: Path, method: Method) -> None:
    """Such points are at the centre, trusted 0, counted, and nobody's neighbours."""
    vectors = draw(120)
    vectors[5, 0], vectors[40, 3] = np.nan, np.inf
    np.save(tmp_path / "vectors.npy", vectors)

    answer = make_layout(ask(tmp_path, method))

    trust, neighbours = np.fromfile(tmp_path / "trust.f32", dtype="<f4"), np.load(tmp_path / "neighbours.npy")
    coordinates = read(tmp_path)
    assert (answer.points, answer.left_out, answer.degraded) == (120, 2, None)
    assert trust[[5, 40]].tolist() == [0, 0]
    assert not np.isin(neighbours, [5, 40]).any()
    others = np.delete(coordinates, [5, 40], axis=0)
    assert np.allclose(coordinates[5], others.mean(axis=0), atol=1e-3)


def test_no_numbers_at_all(tmp_path: Path) -> None:
    """Nothing can be laid out, and the answer says why."""
    np.save(tmp_path / "vectors.npy", np.full((6, 4), np.nan, dtype=np.float32))

    answer = make_layout(ask(tmp_path, Method.UMAP))

    assert (answer.method, answer.degraded, answer.left_out) == (Method.PCA, "not_finite", 6)
    assert read(tmp_path).tolist() == [[0, 0]] * 6


def test_the_first_map_is_the_main_directions(tmp_path: Path) -> None:
    """It is there before the layout, and equals what a singular value decomposition gives but for signs."""
    vectors = draw(300)
    np.save(tmp_path / "vectors.npy", vectors)

    make_first_map(str(tmp_path), 2)

    centred = vectors - vectors.mean(axis=0)
    left, strength, _ = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    first = np.load(tmp_path / "first.npy")
    assert np.allclose(np.abs(first), np.abs(left[:, :2] * strength[:2]), atol=1e-4)


def test_alignment_undoes_turning_mirroring_and_scaling() -> None:
    """Known points come to lie where they were, unknown ones with them."""
    reference = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    known = np.arange(50) < 30
    turned = (reference @ np.array([[0, -2], [-2, 0]], np.float32) + 9).astype(np.float32)

    aligned = align(turned, reference, known)

    assert np.allclose(aligned, reference, atol=1e-4)


def test_new_points_are_placed_beside_the_same_vectors() -> None:
    """A vector that is there already gets its place; one that is no number gets the centre."""
    vectors = draw(100)
    coordinates = np.random.default_rng(1).normal(size=(100, 2)).astype(np.float32)
    new = np.stack([vectors[17], np.full(48, np.nan, np.float32)])

    placed = place(new, vectors, coordinates)

    assert np.allclose(placed[0], coordinates[17], atol=1e-3)
    assert np.allclose(placed[1], coordinates.mean(axis=0), atol=1e-6)


async def test_a_child_tells_how_far_it_is(tmp_path: Path) -> None:
    """A parent reads the progress of a layout while it is made, and ends it by killing the child."""
    folder = tmp_path / "map"
    folder.mkdir()
    np.save(folder / "vectors.npy", draw(1500))
    progress = ProgressFile(str(tmp_path / "progress"))
    parameters = check_parameters(Method.TSNE, 2, {"iterations": 10_000}, 10_000)
    request = replace(ask(folder, Method.TSNE), parameters=parameters, progress=str(tmp_path / "progress"))
    pool = ProcessPool(1, memory_bytes=8 * 2**30)

    async def find_epochs() -> tuple[str, int, int] | None:
        said = progress.read()
        return said if said is not None and said[0] == "layout" and said[1] > 0 else None

    try:
        layout = asyncio.create_task(pool.run(make_layout, request, timeout_seconds=300))
        seen = await wait_until(find_epochs, seconds=300)
        layout.cancel()
        with pytest.raises(asyncio.CancelledError):
            await layout
    finally:
        await pool.aclose()

    assert seen is not None
    assert seen[2] == 10_000
    assert not (folder / "coordinates.npy").exists()
