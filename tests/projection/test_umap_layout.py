"""UMAP's own way down: as good as the one of umap-learn, and the same whatever computes it."""

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from app.projection.compiled import set_threads
from app.projection.neighbours import Neighbours, find_neighbours
from app.projection.quality import measure_quality
from app.projection.umap_descent import SHARED_POINTS
from app.projection.umap_layout import choose_epochs, lay_out, spread

with warnings.catch_warnings():
    # without tensorflow it says so
    warnings.simplefilter("ignore")
    import umap

# where nothing is compiled yet, the first layouts take as long as that does
pytestmark = pytest.mark.timeout(400)

Floats = NDArray[np.float32]

K, EPOCHS, THREADS = 15, 200, 2


def draw(n: int, *, topics: int = 12, seed: int = 0) -> Floats:
    """Vectors of some topics, each of which is flat."""
    random = np.random.default_rng(seed)
    centres, directions = random.normal(size=(topics, 24)), random.normal(size=(topics, 3, 24)) / 5
    of = np.arange(n) % topics
    vectors = centres[of] + np.einsum("nd,ndw->nw", random.normal(size=(n, 3)), directions[of])
    normalised: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return normalised


def make(
    vectors: Floats,
    near: Neighbours,
    *,
    dimensions: int = 2,
    min_dist: float = 0.1,
    epochs: int = EPOCHS,
    start: Floats | None = None,
    seed: int = 3,
) -> Floats:
    """A layout; one that begins somewhere is continued."""
    return lay_out(
        near,
        vectors[:, :dimensions] if start is None else start,
        parameters={"n_neighbors": K, "min_dist": min_dist, "epochs": epochs},
        seed=seed,
        continued=start is not None,
        told=lambda _done, _all: None,
    )


def make_theirs(vectors: Floats, near: Neighbours, dimensions: int) -> Floats:
    """What umap-learn makes of the same neighbours and the same start."""
    itself = np.arange(len(vectors), dtype=np.int32)[:, None]
    rows = np.concatenate([itself, near.rows[:, : K - 1]], axis=1)
    distances = np.concatenate([itself.astype(np.float32) * 0, near.distances[:, : K - 1]], axis=1)
    model = umap.UMAP(
        n_components=dimensions,
        n_epochs=EPOCHS,
        init=spread(vectors[:, :dimensions], 3, keep_shape=False),
        random_state=3,
        n_jobs=1,
        precomputed_knn=(rows, distances),
        force_approximation_algorithm=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        laid_out: Floats = model.fit_transform(vectors)
    return laid_out


@pytest.mark.parametrize("dimensions", [2, 3])
def test_it_is_as_good_as_umap_learn(dimensions: int) -> None:
    """Of the same graph a map is as true and about as large, and no point of it is far out."""
    vectors = draw(1500)
    near, everything = find_neighbours(vectors, K), np.arange(1500)

    ours, theirs = make(vectors, near, dimensions=dimensions), make_theirs(vectors, near, dimensions)

    quality = measure_quality(vectors, everything, ours, seed=0)
    oracle = measure_quality(vectors, everything, theirs, seed=0)
    assert quality["trustworthiness@15"] >= oracle["trustworthiness@15"] - 0.01
    assert quality["neighbourhood_recall@15"] >= oracle["neighbourhood_recall@15"] - 0.03
    assert quality["triplet_accuracy"] >= oracle["triplet_accuracy"] - 0.03
    radius, other = (np.linalg.norm(each - each.mean(axis=0), axis=1) for each in (ours, theirs))
    assert 0.7 < np.median(radius) / np.median(other) < 1.4
    assert radius.max() < 1.5 * other.max()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_any_number_of_threads_makes_the_same(dimensions: int) -> None:
    """Byte for byte, where there are so many points that threads share them; another seed makes another map."""
    vectors = draw(SHARED_POINTS)
    near = find_neighbours(vectors, K)

    try:
        set_threads(1)
        alone = make(vectors, near, dimensions=dimensions, epochs=20)
    finally:
        set_threads(THREADS)

    assert make(vectors, near, dimensions=dimensions, epochs=20).tobytes() == alone.tobytes()
    assert not np.allclose(make(vectors, near, dimensions=dimensions, epochs=20, seed=4), alone)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("n", [5, 6, 8, 15, 16, 50])
def test_few_points(n: int, dimensions: int) -> None:
    """Each has a place of its own."""
    vectors = draw(n)

    laid_out = make(vectors, find_neighbours(vectors, min(K, n - 1)), dimensions=dimensions)

    assert laid_out.shape == (n, dimensions)
    assert np.isfinite(laid_out).all()
    assert np.abs(laid_out).max() < 100
    assert len(np.unique(laid_out, axis=0)) == n


def test_duplicates_stay_together() -> None:
    """Points that are the same are near each other, and push nothing out of the map."""
    vectors = draw(300)
    vectors[:100] = vectors[0]

    laid_out = make(vectors, find_neighbours(vectors, K))

    apart = np.linalg.norm(laid_out[:100] - np.median(laid_out[:100], axis=0), axis=1)
    assert np.isfinite(laid_out).all()
    assert np.abs(laid_out).max() < 100
    assert np.median(apart) < 0.2 * np.ptp(laid_out, axis=0).max()


def test_islands_do_not_drift_away() -> None:
    """Groups that know only themselves keep to the map: what pulls one end of an edge pulls the other as much."""
    vectors = draw(1600, topics=100)

    laid_out = make(vectors, find_neighbours(vectors, K - 1))

    radius = np.linalg.norm(laid_out - np.median(laid_out, axis=0), axis=1)
    assert radius.max() < 4 * np.median(radius)


def test_a_continued_map_moves_little() -> None:
    """Where it begins at a map, neighbours are as they were, but for its scale."""
    vectors = draw(800)
    near = find_neighbours(vectors, K)
    before = make(vectors, near)

    after = make(vectors, near, start=before)

    centred = [each - each.mean(axis=0) for each in (before, after)]
    scaled = [each / np.sqrt((each**2).sum(axis=1).mean()) for each in centred]
    assert np.median(np.linalg.norm(scaled[0] - scaled[1], axis=1)) < 0.1


def test_min_dist_keeps_neighbours_apart() -> None:
    """A larger one gives every point more room."""
    vectors = draw(600)
    near = find_neighbours(vectors, K)

    dense, loose = (make(vectors, near, min_dist=min_dist) for min_dist in (0.0, 0.9))

    nearest = [find_neighbours(each, 1).distances.mean() / np.ptp(each, axis=0).max() for each in (dense, loose)]
    assert nearest[1] > 1.5 * nearest[0]


def test_it_tells_how_far_it_is() -> None:
    """Every epoch is told, with how many there are; a map that is continued has fewer."""
    vectors = draw(60)
    heard: list[tuple[int, int]] = []

    for continued in (False, True):
        lay_out(
            find_neighbours(vectors, K),
            vectors[:, :2],
            parameters={"n_neighbors": K, "min_dist": 0.1, "epochs": 50},
            seed=0,
            continued=continued,
            told=lambda done, all_: heard.append((done, all_)),
        )

    assert heard == [*((done, 50) for done in range(1, 51)), *((done, 30) for done in range(1, 31))]


def test_many_points_get_fewer_epochs() -> None:
    """Between two hundred and one hundred."""
    assert [choose_epochs(n) for n in (0, 40_000, 50_000, 80_000, 1_000_000)] == [200, 200, 160, 100, 100]
