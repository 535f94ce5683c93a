"""Forces from the grid beside sums over all pairs."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.projection.forces import PAIRS_POINTS, Edges, Repulsion, attract

# where nothing is compiled yet, the first ones take as long as that does
pytestmark = pytest.mark.timeout(400)

Floats = NDArray[np.float32]
Exact = NDArray[np.float64]

POINTS = 3000


def _draw(span: float, dimensions: int) -> Floats:
    """Points in groups, the widest axis ``span`` wide."""
    random = np.random.default_rng(1)
    groups = random.uniform(-0.5, 0.5, size=(40, dimensions))
    points = 0.9 * groups[random.integers(0, 40, POINTS)] + 0.03 * random.normal(size=(POINTS, dimensions))
    drawn: Floats = (points * span / np.ptp(points, axis=0).max()).astype(np.float32)
    return drawn


def _push_exactly(points: Floats) -> tuple[Exact, float]:
    precise = points.astype(np.float64)
    pushes, total = np.empty_like(precise), 0.0
    for start in range(0, len(precise), 500):
        apart = precise[start : start + 500, None] - precise[None]
        near = 1 / (1 + np.square(apart).sum(axis=2))
        total += float(near.sum())
        pushes[start : start + 500] = np.einsum("ij,ijd->id", np.square(near), apart)
    return pushes, total - len(precise)


def _measure_errors(points: Floats, pairs: int = PAIRS_POINTS) -> tuple[float, float]:
    """Of all forces and of their sum, as shares of what is right."""
    wanted, sum_wanted = _push_exactly(points)
    pushes, total = Repulsion(points.shape[1], pairs=pairs).push(points)
    return float(np.linalg.norm(pushes - wanted) / np.linalg.norm(wanted)), abs(total / sum_wanted - 1)


@pytest.mark.parametrize(
    ("span", "most"),
    [
        (1e-4, 1e-4),
        (1e-2, 1e-4),
        (0.99, 1e-4),
        (1.01, 1e-4),
        (3, 1e-4),
        (10, 1e-3),
        (30, 0.02),
        (100, 0.09),
        (200, 0.12),
    ],
)
def test_pushes_on_a_plane_are_those_of_all_pairs(span: float, most: float) -> None:
    """However small or large the map is; and the sum is within a thousandth."""
    of_forces, of_sum = _measure_errors(_draw(span, 2))

    assert of_forces < most
    assert of_sum < 1e-3


@pytest.mark.parametrize(
    ("span", "most"), [(1e-4, 1e-4), (0.99, 1e-4), (1.01, 1e-4), (3, 1e-3), (10, 0.03), (30, 0.04)]
)
def test_pushes_in_space_are_those_of_all_pairs(span: float, most: float) -> None:
    """By the grid, which is taken for more points than these."""
    of_forces, of_sum = _measure_errors(_draw(span, 3), pairs=0)

    assert of_forces < most
    assert of_sum < 2e-3


def test_few_points_in_space_are_taken_pair_by_pair() -> None:
    """Then nothing but digits is lost."""
    of_forces, of_sum = _measure_errors(_draw(40, 3))

    assert of_forces < 1e-4
    assert of_sum < 1e-5


def test_a_lone_point_does_not_push_itself() -> None:
    """Wherever between nodes it lies: two that are far apart feel only each other."""
    random = np.random.default_rng(0)
    repulsion = Repulsion(2)
    for place in random.uniform(40, 50, size=(50, 2)):
        points = np.array([[0, 0], [90, 90], place], dtype=np.float32)
        pushes, _ = repulsion.push(points)

        assert np.abs(pushes - _push_exactly(points)[0]).max() < 2e-3


@pytest.mark.parametrize("dimensions", [2, 3])
def test_pulls_are_sums_over_edges(dimensions: int) -> None:
    """Of every row, and how strong they are together."""
    random = np.random.default_rng(3)
    points = random.normal(size=(20, dimensions)).astype(np.float32)
    targets = random.integers(0, 20, (20, 7)).astype(np.int32)
    weights = random.random((20, 7)).astype(np.float32)
    edges = Edges(starts=np.arange(0, 141, 7, dtype=np.int32), targets=targets.ravel(), weights=weights.ravel())
    pulls, strength = np.empty_like(points), np.empty(20, dtype=np.float32)

    attract(edges, points, pulls, strength)

    apart = points[:, None] - points[targets]
    shares = weights / (1 + np.square(apart).sum(axis=2))
    assert np.allclose(pulls, np.einsum("ij,ijd->id", shares, apart), atol=1e-5)
    assert np.allclose(strength, shares.sum(axis=1), atol=1e-5)
