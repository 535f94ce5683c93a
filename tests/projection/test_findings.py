"""Findings are what a person would look for on a map."""

import numpy as np
from numpy.typing import NDArray

from app.projection.density import triangulate
from app.projection.findings import (
    MOST_FINDINGS,
    MOST_ROWS,
    find_empty_regions,
    find_near_duplicates,
    find_outliers,
    measure_similarities,
)

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


def make_vectors(count: int, *, width: int = 32, spread: float = 0.3, seed: int = 0) -> Floats:
    """Unit vectors of one direction, more or less."""
    rng = np.random.default_rng(seed)
    vectors = (np.eye(width)[0] + rng.normal(scale=spread / width**0.5, size=(count, width))).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def find_neighbours(vectors: Floats, count: int = 5) -> Integers:
    """The nearest others of each vector."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :count].astype(np.int32)


def documents_of(numbers: list[int]) -> NDArray[np.void]:
    """Ids of documents as their file holds them."""
    return np.frombuffer(b"".join(number.to_bytes(16) for number in numbers), dtype="V16")


def test_similarities_are_cosines() -> None:
    """As numpy computes them; a neighbour that is missing is not a number."""
    vectors = make_vectors(50)
    neighbours = find_neighbours(vectors)
    neighbours[3, 2] = -1

    found = measure_similarities(vectors, neighbours)

    expected = np.take_along_axis(vectors @ vectors.T, np.maximum(neighbours, 0).astype(np.int64), axis=1)
    assert np.isnan(found[3, 2])
    found[3, 2] = expected[3, 2]
    assert np.allclose(found, expected, atol=1e-5)


def test_outliers_are_found_loneliest_first() -> None:
    """Vectors that are like no other, and only these."""
    vectors = make_vectors(200)
    vectors[17] = np.eye(32)[5]
    vectors[90] = (np.eye(32)[7] + 0.5 * np.eye(32)[0]) / 1.25**0.5

    count, first = find_outliers(measure_similarities(vectors, find_neighbours(vectors)))

    assert count == 2
    assert [one["row"] for one in first] == [17, 90]
    assert first[0]["similarity"] < first[1]["similarity"] < 0.9


def test_nothing_stands_out_where_all_are_alike() -> None:
    """Equal vectors, and too few to say, have no outliers."""
    equal = np.tile(np.eye(8, dtype=np.float32)[0], (100, 1))

    assert find_outliers(measure_similarities(equal, find_neighbours(equal))) == (0, [])
    assert find_outliers(np.array([[0.9], [0.1], [0.9]], np.float32)) == (0, [])
    assert find_outliers(np.full((50, 3), np.nan, np.float32)) == (0, [])


def test_near_duplicates_are_groups() -> None:
    """Rows that are almost equal come together; groups of several documents before those inside one."""
    vectors = make_vectors(60, spread=2.0)
    vectors[[10, 20, 30]] = vectors[40]
    vectors[51] = vectors[50]
    neighbours = find_neighbours(vectors)
    documents = documents_of([50 if row == 51 else row for row in range(60)])

    count, groups = find_near_duplicates(measure_similarities(vectors, neighbours), neighbours, documents, 0.98)

    assert count == 2
    assert [group["rows"] for group in groups] == [[10, 20, 30, 40], [50, 51]]
    assert [group["documents"] for group in groups] == [4, 1]
    assert groups[0]["similarity"] > 0.999


def test_findings_are_bounded() -> None:
    """A thousand equal vectors are one group with a few of its rows; hundreds of pairs are counted, some are told."""
    equal = np.ones((1000, 5), np.float32)
    ring = ((np.arange(1000)[:, None] + np.arange(1, 6)) % 1000).astype(np.int32)
    pairs = np.arange(1000, dtype=np.int32).reshape(-1, 2)[:, ::-1].reshape(-1, 1)

    [group] = find_near_duplicates(equal, ring, None, 0.98)[1]
    count, told = find_near_duplicates(np.ones((1000, 1), np.float32), pairs, None, 0.98)

    assert (group["size"], len(group["rows"])) == (1000, MOST_ROWS)
    assert (count, len(told)) == (500, MOST_FINDINGS)


def test_the_hole_in_a_ring_is_found() -> None:
    """Its middle, its radius, and points around it; what lies outside of the map is no hole."""
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0, 2 * np.pi, 3000), rng.uniform(3, 5, 3000)
    points = np.stack([10 + radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)
    terrain = triangulate(points)
    assert terrain is not None

    [hole] = find_empty_regions(terrain)

    assert np.allclose(hole["centre"], [10, 0], atol=0.2)
    assert abs(hole["radius"] - 3) < 0.2
    around = np.linalg.norm(points[hole["rows"]] - [10, 0], axis=1)
    assert (abs(around - 3) < 0.3).all()


def test_an_even_map_has_no_holes() -> None:
    """Chance leaves no gap that is told."""
    terrain = triangulate(np.random.default_rng(0).uniform(size=(5000, 2)).astype(np.float32))
    assert terrain is not None

    assert find_empty_regions(terrain) == []


def test_a_hollow_ball_is_empty_inside() -> None:
    """In three dimensions as well."""
    directions = np.random.default_rng(0).normal(size=(4000, 3))
    points = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    terrain = triangulate(points.astype(np.float32))
    assert terrain is not None

    first, *_ = find_empty_regions(terrain)

    assert np.allclose(first["centre"], 0, atol=0.1)
    assert abs(first["radius"] - 1) < 0.1
