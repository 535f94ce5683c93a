"""What can be said about a layout."""

from typing import Any

import pytest

from app.projection.errors import InvalidProjectionError
from app.projection.layout import Method
from app.projection.parameters import check_parameters


def test_what_is_not_said_is_filled_in() -> None:
    """Defaults are those of the documentation."""
    umap = check_parameters(Method.UMAP, 2, {"min_dist": 0}, 200_000)
    tsne = check_parameters(Method.TSNE, 3, {}, 10)

    assert umap == {"n_neighbors": 15, "min_dist": 0.0, "metric": "cosine", "epochs": None, "seed": 42}
    assert tsne == {"perplexity": 30.0, "iterations": 1000, "metric": "cosine", "seed": 42}


def test_what_is_kept_of_a_projection_can_be_asked_for_again() -> None:
    """Also what depends on the data, which is kept as nothing."""
    kept = check_parameters(Method.UMAP, 2, {}, 1000)

    assert check_parameters(Method.UMAP, 2, kept, 1000) == kept


@pytest.mark.parametrize(
    ("method", "given", "told"),
    [
        (Method.UMAP, {"n_neighbors": 1}, "n_neighbors has to be between 2 and 200"),
        (Method.UMAP, {"n_neighbors": 2.5}, "n_neighbors has to be a whole number"),
        (Method.UMAP, {"min_dist": 1.1}, "min_dist has to be between 0 and 1"),
        (Method.UMAP, {"min_dist": float("nan")}, "min_dist has to be a number"),
        (Method.UMAP, {"min_dist": 10**400}, "min_dist has to be between 0 and 1"),
        (Method.PCA, {"seed": 10**400}, "seed has to be between 0"),
        (Method.UMAP, {"min_dist": "0.1"}, "min_dist has to be a number"),
        (Method.UMAP, {"metric": "manhattan"}, "metric can only be 'cosine'"),
        (Method.UMAP, {"perplexity": 30}, "umap has no parameter 'perplexity'"),
        (Method.TSNE, {"perplexity": 0}, "perplexity has to be between"),
        (Method.TSNE, {"iterations": 249}, "iterations has to be between 250"),
        (Method.TSNE, {"iterations": True}, "iterations has to be a whole number"),
        (Method.PCA, {"seed": -1}, "seed has to be between 0"),
    ],
)
def test_wrong_parameters_are_refused(method: Method, given: dict[str, Any], told: str) -> None:
    """The message says what to change."""
    with pytest.raises(InvalidProjectionError, match=told):
        check_parameters(method, 2, given, 1000)


@pytest.mark.parametrize(("dimensions", "sample"), [(4, 1000), (2, 9), (2, 500_001)])
def test_wrong_sizes_are_refused(dimensions: int, sample: int) -> None:
    """Maps have two or three dimensions, and samples a size that can be laid out."""
    with pytest.raises(InvalidProjectionError):
        check_parameters(Method.PCA, dimensions, {}, sample)
