"""Measures are known by their names, and by those that other tools have for them."""

import pytest

from app.evaluation.measures import DEFAULT_MEASURES, PRIMARY, InvalidMeasureError, Measure, MeasureKind, parse_measure


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ndcg@10", "ndcg@10"),
        ("nDCG@10", "ndcg@10"),
        ("ndcg_cut_10", "ndcg@10"),
        ("ndcg", "ndcg"),
        ("ndcg_exp@5", "ndcg_exp@5"),
        ("p@5", "precision@5"),
        ("P_10", "precision@10"),
        ("R@100", "recall@100"),
        ("recall_1000", "recall@1000"),
        ("F1@10", "f1@10"),
        ("AP", "map"),
        ("map_cut_5", "map@5"),
        ("RR", "mrr"),
        ("recip_rank", "mrr"),
        ("RR@10", "mrr@10"),
        ("success_1", "success@1"),
        (" Judged@10 ", "judged@10"),
    ],
)
def test_names_of_other_tools(text: str, name: str) -> None:
    """Each becomes ours, which is read again as the same measure."""
    measure = parse_measure(text)

    assert measure.name == name
    assert parse_measure(name) == measure


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there are precision, recall"),
        ("bleu@4", "there are precision, recall"),
        ("ndcg@", "there are precision, recall"),
        ("ndcg@-1", "there are precision, recall"),
        ("ndcg@1.5", "there are precision, recall"),
        ("ndcg@\u0661\u0660", "there are precision, recall"),
        ("precision", "as precision@10"),
        ("judged", "as judged@10"),
        ("ndcg@0", "from 1 to 10000"),
        ("recall@10001", "from 1 to 10000"),
    ],
)
def test_what_is_no_measure(text: str, words: str) -> None:
    """The message says what would be one."""
    with pytest.raises(InvalidMeasureError, match=words) as refused:
        parse_measure(text)

    assert refused.value.code == "invalid_measure"


def test_a_long_name_is_not_repeated_in_full() -> None:
    """Nobody's message becomes as long as what they sent."""
    with pytest.raises(InvalidMeasureError) as refused:
        parse_measure("x" * 100_000)

    assert len(refused.value.message) < 300


def test_usual_measures_have_the_primary_one_first() -> None:
    """The whole ranking is the meaning of a measure without k."""
    assert DEFAULT_MEASURES[0].name == PRIMARY
    assert Measure(kind=MeasureKind.MAP) in DEFAULT_MEASURES
    assert len(set(DEFAULT_MEASURES)) == len(DEFAULT_MEASURES)
