"""Nearest neighbours and the forces of t-SNE, beside the plain sums they stand for."""

import numpy as np
import pytest

from app.projection.forces import Repulsion
from app.projection.neighbours import Cells, find_exact, find_neighbours
from tests.projection.test_layouts import draw

pytestmark = pytest.mark.timeout(400)


def test_exact_neighbours_are_exact() -> None:
    """They equal what sorting all distances gives."""
    points = draw(300)
    apart = np.linalg.norm(points[:, None].astype(np.float64) - points[None], axis=2)
    np.fill_diagonal(apart, np.inf)

    found = find_neighbours(points, 10)

    assert np.allclose(found.distances, np.sort(apart, axis=1)[:, :10], atol=1e-5)
    assert np.allclose(np.take_along_axis(apart, found.rows, 1), found.distances, atol=1e-5)


def test_cells_find_nearly_all() -> None:
    """Of points without any structure, the hardest case, more than four in five of the nearest are found."""
    points = np.random.default_rng(0).normal(size=(6000, 10)).astype(np.float32)
    own = np.arange(6000, dtype=np.int32)

    found = Cells(points).search(points[:500], 15, own=own[:500])

    exact = find_exact(points, points[:500], 15, own=own[:500])
    shared = [len(set(ours) & set(theirs)) for ours, theirs in zip(found.rows, exact.rows, strict=True)]
    assert np.mean(shared) / 15 > 0.8


@pytest.mark.parametrize("copies", [1, 4000])
def test_cells_of_equal_points(copies: int) -> None:
    """Fewer points than are asked for leave rows empty; a cell that holds nearly everything is searched."""
    points = np.concatenate([np.zeros((copies, 4)), np.ones((3, 4))]).astype(np.float32)

    found = Cells(points).search(points[-3:], 5)

    assert (found.rows[:, :3] >= copies).all()
    assert (found.rows == -1).any() == (copies == 1)


@pytest.mark.parametrize(("dimensions", "points", "share"), [(2, 2000, 0.08), (3, 500, 0.001), (3, 8500, 0.2)])
def test_repulsion_is_the_sum_over_pairs(dimensions: int, points: int, share: float) -> None:
    """Forces and their sum are those of all pairs, less exactly over the coarse grid of three dimensions."""
    laid_out = np.random.default_rng(0).normal(scale=6, size=(points, dimensions)).astype(np.float32)
    looked_at = laid_out[:200].astype(np.float64)
    differences = looked_at[:, None] - laid_out[None]
    near = 1 / (1 + np.square(differences).sum(axis=2))

    forces, total = Repulsion(dimensions).push(laid_out)

    expected = np.einsum("nm,nmd->nd", near**2, differences)
    assert np.abs(forces[:200] - expected).max() < share * np.abs(expected).max()
    assert total / points == pytest.approx((near.sum() - 200) / 200, rel=0.2)
