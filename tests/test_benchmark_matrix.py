"""Matrices of settings, as benchmarks take them."""

from typing import Any

import pytest

from app.domain.benchmarks import BenchmarkChoice, InvalidBenchmarkError, expand_matrix
from app.domain.search_settings import InvalidSearchSettingsError, SearchSettings


@pytest.mark.parametrize(
    ("matrix", "names"),
    [
        ({"mode": ["dense", "bm25"], "fusion_k": [10, 60]}, ["dense", "bm25"]),
        ({"fusion_k": [10, 60]}, ["hybrid fusion_k=10", "hybrid"]),
        (
            {"fusion": ["rrf", "dbsf"], "fusion_k": [10, 60]},
            ["hybrid fusion_k=10", "hybrid", "hybrid fusion=dbsf"],
        ),
        (
            {"dense_weight": [0, 1], "bm25_weight": [0, 1]},
            ["hybrid dense_weight=0.0", "hybrid bm25_weight=0.0", "hybrid"],
        ),
        (
            {"rerank": [False, True], "rerank_depth": [20, 50]},
            ["hybrid", "hybrid rerank rerank_depth=20", "hybrid rerank"],
        ),
    ],
)
def test_combinations_that_come_to_the_same_are_one(matrix: dict[str, Any], names: list[str]) -> None:
    """What nothing heeds beside the others is left out, and so is what cannot be."""
    assert [one.describe() for one in expand_matrix(matrix)] == names


@pytest.mark.parametrize(
    "matrix",
    [
        {"mode": ["dense"], "fusion": ["garbage"]},
        {"mode": ["dense"], "fusion_k": [0]},
        {"fusion_k": [10.5]},
        {"colour": ["red"]},
        {"mode": [["dense"]]},
        {"score_threshold": [float("nan")]},
    ],
)
def test_a_value_that_cannot_be_is_refused_also_where_nothing_would_heed_it(matrix: dict[str, Any]) -> None:
    """It is a slip."""
    with pytest.raises(InvalidSearchSettingsError):
        expand_matrix(matrix)


@pytest.mark.parametrize("matrix", [{"mode": []}, {"fusion_k": list(range(1, 700))}])
def test_too_few_and_too_many(matrix: dict[str, Any]) -> None:
    """Counted before they are made."""
    with pytest.raises(InvalidBenchmarkError):
        expand_matrix(matrix)


def test_what_is_to_be_done_again_is_kept_whole() -> None:
    """But for the dataset."""
    choice = BenchmarkChoice(
        dataset="a",
        settings=(SearchSettings(fusion_k=20), SearchSettings(rerank=True)),
        top_k=7,
        measures=("map",),
        primary="mrr",
        baseline="b:run",
        fail_if=("map < 0.2",),
        concurrency=2,
    )

    assert BenchmarkChoice.from_config(choice.to_config(), dataset="a") == choice
