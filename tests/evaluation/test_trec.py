"""Runs and judgments that TREC's tools read as they were meant."""

from itertools import pairwise

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, nDCG

from app.evaluation.trec import falling, write_name, write_qrels, write_run


def test_what_is_written_is_read_again() -> None:
    """By ir-measures; ids with white space are one column."""
    rankings = {"q 1": [("a b", 2.5), ("c", 2.5), ("d%", -1.0)], "q2": [], "ü": [("x", 0.5)]}
    judgments = {"q 1": {"a b": 2, "c": -1}, "ü": {"x": 0}}

    run = list(ir_measures.read_trec_run(write_run(rankings, name="hybrid fusion_k=20")))  # type: ignore[no-untyped-call]
    qrels = list(ir_measures.read_trec_qrels(write_qrels(judgments)))  # type: ignore[no-untyped-call]

    assert [(one.query_id, one.doc_id) for one in run] == [
        ("q%201", "a%20b"),
        ("q%201", "c"),
        ("q%201", "d%25"),
        ("%C3%BC", "x"),
    ]
    assert [(one.query_id, one.doc_id, one.relevance) for one in qrels] == [
        ("q%201", "a%20b", 2),
        ("q%201", "c", -1),
        ("%C3%BC", "x", 0),
    ]


def test_equal_scores_are_told_apart_in_the_order_served() -> None:
    """trec_eval would have taken the last id first."""
    rankings = {"1": [("a", 0.5), ("b", 0.5), ("c", 0.5)]}
    qrels = list(ir_measures.read_trec_qrels("1 0 a 1\n"))  # type: ignore[no-untyped-call]

    run = list(ir_measures.read_trec_run(write_run(rankings, name="x")))  # type: ignore[no-untyped-call]

    found = ir_measures.calc_aggregate([AP, nDCG @ 10], qrels, run)
    assert found == {AP: 1.0, nDCG @ 10: 1.0}


@pytest.mark.parametrize("scores", [[], [1.0], [0.0, 0.0, 0.0], [3.0, 5.0, -1.0], [1e30, 1e30, 1e30], [-1e-30, -1e-30]])
def test_scores_fall(scores: list[float]) -> None:
    """As float32, and those that fell already stay."""
    fallen = falling(scores)

    assert all(np.float32(one) > np.float32(other) for one, other in pairwise(fallen))
    assert falling(fallen) == fallen
    assert len(fallen) == len(scores)


def test_no_name_is_empty() -> None:
    """An empty column would move the others."""
    assert write_name("") == "%"
