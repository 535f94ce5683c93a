"""Scores equal those of ir-measures and pytrec_eval, whatever runs and judgments are like."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from ir_measures import AP, RR, Judged, P, R, Success, nDCG
from numpy.random import Generator

from app.evaluation.measures import DEFAULT_MEASURES, parse_measure
from app.evaluation.metrics import NOBODY, Ranks, Scores, number_rankings
from app.evaluation.scoring import Scored, drop_repeated, score_rankings
from tests.evaluation.trec_order import trec_order

RUNS = 150
"""For each of the seeds below."""
SEEDS = range(7)
DEPTH = 30
NAMES = [f"d{number}" for number in range(24)] + ["D1", "é", "\uffff", "\U0001d4b3", "d 1", "d1é"]
GAINS = {1: 1, 2: 3, 3: 7, 4: 15}
CUTS = (1, 3, 5, 10, 100)

BY_IR_MEASURES: dict[str, Any] = {
    "mrr": RR,
    "map": AP,
    "ndcg": nDCG,
    "ndcg_exp": nDCG(gains=GAINS),
    **{f"precision@{k}": P @ k for k in CUTS},
    **{f"recall@{k}": R @ k for k in CUTS},
    **{f"map@{k}": AP @ k for k in CUTS},
    **{f"ndcg@{k}": nDCG @ k for k in CUTS},
    **{f"ndcg_exp@{k}": nDCG(gains=GAINS) @ k for k in CUTS},
    **{f"success@{k}": Success @ k for k in CUTS},
}
TIED_OTHERWISE: dict[str, Any] = {
    **{f"mrr@{k}": RR @ k for k in CUTS},
    **{f"judged@{k}": Judged @ k for k in CUTS},
}
"""For these ir-measures takes the earlier name of documents with equal scores, and trec_eval the later one."""

BY_PYTREC_EVAL = {
    "mrr": "recip_rank",
    "map": "map",
    "ndcg": "ndcg",
    **{
        f"{ours}@{k}": f"{theirs}_{k}"
        for ours, theirs in (
            ("precision", "P"),
            ("recall", "recall"),
            ("map", "map_cut"),
            ("ndcg", "ndcg_cut"),
            ("success", "success"),
        )
        for k in CUTS
    },
}

Judgments = list[dict[str, int]]
Reference = Mapping[str, Mapping[str, float]]
"""Scores by measure and query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run, with its judgments: ranked names, their scores, and grades by name, for each query."""

    rankings: list[list[str]]
    scores: list[list[float]]
    judged: Judgments

    def ours(self, *, in_trec_order: bool = False) -> Scored:
        """What our own code says."""
        known = {name: number for number, name in enumerate(NAMES)}
        ranks = number_rankings(self.rankings, depth=DEPTH, known=known)
        if in_trec_order:
            filled = np.full(ranks.shape, -np.inf)
            for row, values in zip(filled, self.scores, strict=True):
                row[: len(values)] = values
            ranks = trec_order(ranks, filled, NAMES)
        judged = [{known[name]: grade for name, grade in grades.items()} for grades in self.judged]
        measures = [parse_measure(name) for name in (*BY_IR_MEASURES, *TIED_OTHERWISE, *(f"f1@{k}" for k in CUTS))]
        return score_rankings(ranks, judged, measures)

    def as_run(self, *, by_place: bool) -> dict[str, dict[str, float]]:
        """For the references: queries that found nothing are missing, and a document is where it stands first."""
        run = {}
        for query, (names, scores) in enumerate(zip(self.rankings, self.scores, strict=True)):
            found = list(dict.fromkeys(names))
            values = [-float(place) for place in range(len(found))] if by_place else scores
            if found:
                run[str(query)] = dict(zip(found, values, strict=True))
        return run

    def as_qrels(self) -> dict[str, dict[str, int]]:
        """For the references."""
        return {str(query): grades for query, grades in enumerate(self.judged)}


def make_case(random: Generator, *, repeats: bool) -> Case:
    """Queries that find nothing to everything, without judgments to with many, and few different scores."""
    rankings, scores, judged = [], [], []
    for _ in range(random.integers(1, 9)):
        found = random.permutation(NAMES)[: random.choice([0, 1, 5, 12, DEPTH])].tolist()
        if repeats:
            found = random.choice(found, size=min(DEPTH, 2 * len(found))).tolist() if found else []
        rankings.append(found)
        # some differ by less than a float32 can hold
        scores.append(
            (random.integers(0, 4, size=len(found)) / 7 + random.choice([0, 1e-12], size=len(found))).tolist()
        )
        known = random.permutation(NAMES)[: random.choice([0, 1, 4, 15, len(NAMES)])].tolist()
        # pytrec_eval writes where it must not for queries with negative grades alone
        least = [int(random.integers(0, 2))] if known else []
        grades = least + random.integers(-3, random.choice([1, 2, 5]), size=max(0, len(known) - 1)).tolist()
        judged.append(dict(zip(known, grades, strict=True)))
    return Case(rankings=rankings, scores=scores, judged=judged)


def make_cases(seed: int, *, repeats: bool = False) -> Iterator[Case]:
    """Always the same ones."""
    random = np.random.default_rng(seed)
    yield from (make_case(random, repeats=repeats) for _ in range(RUNS))


def ask_ir_measures(measures: Mapping[str, Any], case: Case, *, by_place: bool) -> Reference:
    """Scores of every judged query."""
    names = {str(measure): name for name, measure in measures.items()}
    found: dict[str, dict[str, float]] = {name: {} for name in measures}
    # it confuses nDCG of both gains if it is asked for them at once
    for is_exponential in (False, True):
        wanted = [measure for name, measure in measures.items() if ("exp" in name) is is_exponential]
        for value in ir_measures.iter_calc(wanted, case.as_qrels(), case.as_run(by_place=by_place)):
            found[names[str(value.measure)]][value.query_id] = value.value
    return found


def ask_pytrec_eval(case: Case, *, by_place: bool) -> Reference:
    """Scores of every query that is judged and found something."""
    wanted = {
        name if name in {"recip_rank", "map", "ndcg"} else ".".join(name.rsplit("_", 1))
        for name in BY_PYTREC_EVAL.values()
    }
    found = pytrec_eval.RelevanceEvaluator(case.as_qrels(), wanted).evaluate(case.as_run(by_place=by_place))
    return {ours: {query: values[theirs] for query, values in found.items()} for ours, theirs in BY_PYTREC_EVAL.items()}


def check(scored: Scored, reference: Reference, *, else_nothing: bool = False) -> None:
    """Ours equal the reference's to 1e-9; queries it does not have are 0 if it leaves those out."""
    for name, expected in reference.items():
        for query, value in enumerate(scored.by_measure[name]):
            wanted = expected.get(str(query), 0.0) if else_nothing else expected[str(query)]
            assert abs(value - wanted) <= 1e-9, (name, query, value, wanted)


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_equal_those_of_both_references(seed: int) -> None:
    """Of 1 050 runs: missing queries, empty ones, grades from -3 to 4, judged documents that nobody found."""
    for case in make_cases(seed):
        scored = case.ours()

        reference = ask_ir_measures(BY_IR_MEASURES | TIED_OTHERWISE, case, by_place=True)
        check(scored, {name: fill(case, values) for name, values in reference.items()})
        check(scored, ask_pytrec_eval(case, by_place=True), else_nothing=True)
        check_f1(scored, case)
        assert scored.countable.tolist() == [any(grade > 0 for grade in grades.values()) for grades in case.judged]


def fill(case: Case, values: Mapping[str, float]) -> Mapping[str, float]:
    """With 0 for queries that have no judgment, which no reference knows of."""
    return {str(query): 0.0 for query, grades in enumerate(case.judged) if not grades} | dict(values)


def check_f1(scored: Scored, case: Case) -> None:
    """F1 of the first k is that of trec_eval's sets, where there are k."""
    for k in (1, 3, 5, 10):
        run = {query: dict(list(found.items())[:k]) for query, found in case.as_run(by_place=True).items()}
        sets = pytrec_eval.RelevanceEvaluator(case.as_qrels(), {"set_F"}).evaluate(run)
        for query, found in sets.items():
            if len(run[query]) == k:
                assert scored.by_measure[f"f1@{k}"][int(query)] == pytest.approx(found["set_F"], abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_ties_are_broken_as_trec_eval_does(seed: int) -> None:
    """With equal scores, and such that differ by less than a float32 can hold."""
    for case in make_cases(100 + seed):
        scored = case.ours(in_trec_order=True)

        reference = ask_ir_measures(BY_IR_MEASURES, case, by_place=False)
        check(scored, {name: fill(case, values) for name, values in reference.items()})
        by_pytrec_eval = ask_pytrec_eval(case, by_place=False)
        check(scored, by_pytrec_eval, else_nothing=True)
        for k in CUTS:
            within = {query: value * (value >= 1 / k) for query, value in by_pytrec_eval["mrr"].items()}
            check(scored, {f"mrr@{k}": within}, else_nothing=True)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_a_document_counts_where_it_stands_first(seed: int) -> None:
    """What a document is ranked again changes nothing but that the rest moves up."""
    for case in make_cases(200 + seed, repeats=True):
        scored = case.ours()

        reference = ask_ir_measures(BY_IR_MEASURES | TIED_OTHERWISE, case, by_place=True)
        check(scored, {name: fill(case, values) for name, values in reference.items()})


def test_gaps_and_repetitions_are_closed() -> None:
    """The order stays."""
    ranks = np.array([[4, 4, 2, 4, 2, 0], [NOBODY, 1, NOBODY, 1, 3, NOBODY], [5, 4, 3, 2, 1, 0]])

    assert drop_repeated(ranks).tolist() == [[4, 2, 0, -1, -1, -1], [1, 3, -1, -1, -1, -1], [5, 4, 3, 2, 1, 0]]


def score(ranks: Ranks, judged: list[dict[int, int]]) -> dict[str, list[float]]:
    """The usual measures, as lists."""
    return {
        name: values.tolist() for name, values in score_rankings(ranks, judged, DEFAULT_MEASURES).by_measure.items()
    }


def test_a_small_example() -> None:
    """As worked out by hand: of three relevant documents the second and the fourth rank are right."""
    found = score(np.array([[7, 1, 8, 2]]), [{1: 3, 2: 1, 3: 1, 8: 0, 9: -1}])

    gained, possible = 3 / np.log2(3) + 1 / np.log2(5), 3 + 1 / np.log2(3) + 1 / 2
    exponential, most = 7 / np.log2(3) + 1 / np.log2(5), 7 + 1 / np.log2(3) + 1 / 2
    expected = {
        "ndcg@10": gained / possible,
        "recall@10": 2 / 3,
        "recall@100": 2 / 3,
        "precision@10": 0.2,
        "f1@10": 2 * 0.2 * (2 / 3) / (0.2 + 2 / 3),
        "mrr": 0.5,
        "map": (1 / 2 + 2 / 4) / 3,
        "ndcg_exp@10": exponential / most,
        "success@1": 0.0,
        "success@10": 1.0,
        "judged@10": 3 / 4,
    }
    assert {name: values[0] for name, values in found.items()} == pytest.approx(expected)


def test_rankings_may_be_of_any_integers() -> None:
    """Smaller ones give the same, and depth and number of queries may be nothing."""
    ranks = np.array([[0, 1], [1, NOBODY]])
    judged = [{1: 1}, {1: 2}]

    assert score(ranks.astype(np.int32), judged) == score(ranks, judged)
    assert score(np.empty((2, 0), dtype=np.int64), judged)["ndcg@10"] == [0.0, 0.0]
    assert score(np.empty((0, 5), dtype=np.int64), [])["map"] == []


def test_large_grades_are_no_trouble() -> None:
    """Powers of two that no number can hold still have a ratio."""
    scored = score(np.array([[0, 1]]), [{0: 4999, 1: 5000}])

    assert scored["ndcg_exp@10"][0] == pytest.approx((0.5 + 1 / np.log2(3)) / (1 + 0.5 / np.log2(3)))


def test_negative_grades_alone_are_as_zeros() -> None:
    """Nothing is relevant, though everything is judged; such a query does not count."""
    ranks = np.array([[0, 1, 2]])

    scored = score_rankings(ranks, [{0: -1, 1: -3, 2: -2}], DEFAULT_MEASURES)

    assert score(ranks, [{0: -1, 1: -3, 2: -2}]) == score(ranks, [{0: 0, 1: 0, 2: 0}])
    assert {name: values[0] for name, values in scored.by_measure.items() if values[0] != 0} == {"judged@10": 1.0}
    assert not scored.countable[0]


def test_judgments_that_cannot_be() -> None:
    """Of another number of queries, or of nobody."""
    with pytest.raises(ValueError, match="judgments of 2 queries"):
        score(np.array([[0]]), [{}, {}])
    with pytest.raises(ValueError, match="below 0"):
        score(np.array([[0]]), [{NOBODY: 1}])


def test_the_order_of_trec_eval_leaves_gaps_last() -> None:
    """Even behind a document whose score is minus infinity."""
    scores: Scores = np.array([[-np.inf, -np.inf, 1.0, 1.0]])

    assert trec_order(np.array([[NOBODY, 2, 0, 1]]), scores, ["a", "b", "c"]).tolist() == [[1, 0, 2, NOBODY]]
