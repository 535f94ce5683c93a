"""Clusters of a map are the dense places that a person sees, at two levels."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_rand_score

from app.projection.clusters import MOST_COARSE, MOST_FINE, find_clusters, find_middles
from app.projection.density import NOISE, Terrain, find_dense_regions, number_by_size, triangulate

Floats = NDArray[np.float32]


def make_blobs(centres: Floats, *, each: int, spread: float, seed: int = 0) -> tuple[Floats, NDArray[np.int64]]:
    """Round heaps of points, and which each point is of."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(len(centres)), each)
    return (centres[of] + rng.normal(scale=spread, size=(len(of), centres.shape[1]))).astype(np.float32), of


def survey(points: Floats) -> Terrain:
    """A map that can be triangulated."""
    terrain = triangulate(points)
    assert terrain is not None
    return terrain


@pytest.fixture(params=[2, 3])
def blobs(request: pytest.FixtureRequest) -> tuple[Floats, NDArray[np.int64]]:
    """Twelve heaps that lie well apart, in two and in three dimensions."""
    grid = np.array([(x, y, z) for x in range(4) for y in range(3) for z in range(1)], dtype=np.float32) * 10
    return make_blobs(grid[:, : request.param], each=100, spread=0.5)


def test_heaps_are_clusters(blobs: tuple[Floats, NDArray[np.int64]]) -> None:
    """Every heap ends in clusters of its own, hardly anything is noise, and no coarse cluster cuts a fine one."""
    points, of = blobs

    found = find_clusters(survey(points))

    clustered = found.fine != NOISE
    assert clustered.mean() > 0.9
    for cluster in range(found.fine.max() + 1):
        assert len(np.unique(of[found.fine == cluster])) == 1
    for heap in np.unique(of):
        assert len(np.unique(found.coarse[clustered & (of == heap)])) == 1


def test_regions_are_those_of_the_library() -> None:
    """On heaps that are told apart, the tree over the triangulation gives what scikit-learn's HDBSCAN gives."""
    points, _ = make_blobs(np.array([[0, 0], [8, 0], [0, 9], [9, 9], [20, 4]], np.float32), each=150, spread=0.8)

    regions = find_dense_regions(survey(points), 60)

    library = HDBSCAN(min_cluster_size=60, min_samples=11, cluster_selection_method="leaf", copy=True)
    assert regions.max() == 4
    assert adjusted_rand_score(regions, library.fit_predict(points)) > 0.98


def test_points_far_from_everything_are_noise() -> None:
    """Points that stand alone belong to no cluster."""
    points, _ = make_blobs(np.array([[0, 0], [30, 0], [0, 30]], np.float32), each=200, spread=0.7)
    alone = np.array([[15, 15], [28, 28], [15, 3]], dtype=np.float32)

    found = find_clusters(survey(np.concatenate([points, alone])))

    assert (found.fine[-3:] == NOISE).all()
    assert (found.fine[:-3] != NOISE).mean() > 0.9


def test_clusters_are_few_enough_to_look_at() -> None:
    """However many heaps there are, and on a map without any, both levels stay readable."""
    rng = np.random.default_rng(0)
    heaps, _ = make_blobs(rng.uniform(0, 1000, (600, 2)).astype(np.float32), each=30, spread=0.5)

    for points in (heaps, rng.uniform(size=(20_000, 2)).astype(np.float32)):
        found = find_clusters(survey(points))

        assert 1 <= found.fine.max() + 1 <= MOST_FINE
        assert 1 <= found.parents.max() + 1 <= MOST_COARSE
        sizes = np.bincount(found.fine[found.fine != NOISE])
        assert (np.diff(sizes) <= 0).all(), "the largest is the first"


@pytest.mark.parametrize(
    "points",
    [np.zeros((0, 2)), np.zeros((1, 2)), np.eye(2), np.eye(3), np.ones((500, 2)), np.full((9, 3), np.nan)],
    ids=["none", "one", "two", "three", "equal", "not finite"],
)
def test_too_little_to_triangulate(points: NDArray[np.float64]) -> None:
    """No terrain, and no error."""
    assert triangulate(points.astype(np.float32)) is None


def test_points_in_a_line_and_in_one_place() -> None:
    """A map without an area, and one with hundreds of points in each place, have clusters too."""
    line = np.stack([np.r_[np.linspace(0, 1, 100), np.linspace(9, 10, 100)], np.zeros(200)], axis=1)
    places = np.repeat(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]), 300, axis=0)

    on_line = find_clusters(survey(line.astype(np.float32))).coarse
    in_places = find_clusters(survey(places.astype(np.float32))).fine.reshape(4, 300)

    assert set(on_line[:100]).isdisjoint(set(on_line[100:]) - {NOISE})
    owners = [set(place.tolist()) - {NOISE} for place in in_places]
    assert all(owners)
    assert sum(map(len, owners)) == len(set[int]().union(*owners)), "no two places share a cluster"


def test_the_same_map_has_the_same_clusters(blobs: tuple[Floats, NDArray[np.int64]]) -> None:
    """Nothing depends on chance."""
    first, second = (find_clusters(survey(blobs[0])) for _ in range(2))

    assert (first.fine == second.fine).all()
    assert (first.parents == second.parents).all()


def test_groups_are_numbered_from_the_largest() -> None:
    """Numbers follow sizes; noise stays noise."""
    assert number_by_size(np.array([7, -1, 3, 3, 7, 3, -1, 9], np.int32)).tolist() == [1, -1, 0, 0, 1, 0, -1, 2]


def test_middles_withstand_outliers() -> None:
    """A label stands where most points of the cluster are."""
    points = np.array([[0, 0], [1, 1], [0, 1], [500, 500], [1, 0]], np.float32)

    [(label, size, middle)] = find_middles(points, np.array([4, 4, 4, 4, 4], np.int32))

    assert (label, size) == (4, 5)
    assert (middle <= 1).all()
