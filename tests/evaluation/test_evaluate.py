"""What the runs of a benchmark amount to."""

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator

from app.evaluation.benchmark import evaluate
from app.evaluation.judged_runs import BaselineValues, DocumentName, Evaluation, JudgedQuery, RunInput
from app.evaluation.measures import parse_measure
from app.evaluation.metrics import NOBODY

NAMES = [DocumentName(id=f"id-{number}", uri=f"file:///d{number}.md") for number in range(8)]
LOST = DocumentName(id=None, uri="never.pdf")
DEPTH = 12


def make_run(name: str, *rankings: Sequence[int], depth: int = DEPTH, **changes: Any) -> RunInput:
    """A run that has found these documents."""
    ranks = np.full((len(rankings), depth), NOBODY, dtype=np.int64)
    for row, ranking in zip(ranks, rankings, strict=True):
        row[: len(ranking)] = ranking
    run = RunInput(
        name=name,
        settings={"mode": "bm25"},
        generation="g1",
        ranks=ranks,
        latency_ms=np.arange(1.0, len(rankings) + 1),
    )
    return replace(run, **changes)


def make_queries(*grades: Mapping[int, int]) -> list[JudgedQuery]:
    """Queries with these judgments."""
    return [JudgedQuery(query_id=f"q{at}", text=f"question {at}", grades=known) for at, known in enumerate(grades)]


def make_evaluation(**changes: Any) -> Evaluation:
    """Five queries: found, outranked, missed, failed, and one without a relevant document; two runs."""
    usual = Evaluation(
        documents=[*NAMES, LOST],
        queries=make_queries({0: 2, 1: 1}, {0: 1}, {0: 1, 7: 3, 8: 2}, {1: 1}, {2: 0}),
        runs=[
            make_run("good", [0, 1], [2, 0], [3, 4, 5, 6], [], [2], errors={3: "embedder_rejected"}),
            make_run("bad", [3, 0], [], [3], [2, 3], [2]),
        ],
        measures=[parse_measure("mrr"), parse_measure("ndcg@10")],
        primary="mrr",
        seed=1,
        reasons={8: "unmapped"},
    )
    return replace(usual, **changes)


def draw(random: Generator, queries: int, **found: float) -> Evaluation:
    """Queries with one relevant document each, and runs that have it first with these chances, and else not at all."""
    runs = [
        make_run(name, *[[0] if is_found else [1] for is_found in random.random(queries) < chance])
        for name, chance in found.items()
    ]
    return make_evaluation(
        queries=make_queries(*[{0: 1}] * queries), runs=runs, measures=[parse_measure("mrr")], seed=3
    )


def test_what_a_run_is_worth() -> None:
    """Means are over queries with a relevant document; what failed or found nothing is 0 of them."""
    report = evaluate(make_evaluation()).report

    good, bad = report["runs"]
    assert (good["name"], good["mode"], good["generation"]) == ("good", "bm25", "g1")
    assert good["metrics"]["mrr"] == pytest.approx((1 + 1 / 2 + 0 + 0) / 4)
    assert bad["metrics"]["mrr"] == pytest.approx((1 / 2 + 0 + 0 + 0) / 4)
    assert good["ci95"]["mrr"][0] <= good["metrics"]["mrr"] <= good["ci95"]["mrr"][1]
    assert (good["queries"], good["queries_failed"], bad["queries_failed"]) == (4, 1, 0)
    assert (good["queries_missing"], bad["queries_missing"]) == (0, 1)
    assert (report["queries"], report["left_out"]) == (4, ["q4"])


def test_latency_is_that_of_answered_queries() -> None:
    """One that failed has none; where all failed nothing is known."""
    some = make_run("some", [0], [0], [0], latency_ms=np.array([10.0, np.nan, 30.0]))
    none = make_run("none", [], [], [], latency_ms=np.full(3, np.nan), errors=dict.fromkeys(range(3), "x"))

    report = evaluate(make_evaluation(runs=[some, none], queries=make_queries({0: 1}, {0: 1}, {0: 1}))).report

    known, unknown = (run["latency_ms"] for run in report["runs"])
    assert (known["p50"], known["p95"], known["mean"]) == (20.0, 29.0, 20.0)
    assert known["curve"][0] == 10.0
    assert len(known["curve"]) == 21
    assert unknown == {"p50": None, "p95": None, "p99": None, "mean": None, "curve": []}


def test_why_the_worst_queries_are_bad() -> None:
    """What was expected of the best run, and why it is not where it should be."""
    long = make_run("long", [0, 1], [2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 0], [3], [], [2], errors={3: "embedder_rejected"})
    report = evaluate(make_evaluation(runs=[long])).report

    worst = {query["query_id"]: query for query in report["worst"]}
    assert [query["query_id"] for query in report["worst"]][:2] == ["q2", "q3"]
    assert "q0" not in worst
    assert [(one["grade"], one["rank"], one["why"]) for one in worst["q2"]["expected"]] == [
        (3, None, "not_found"),
        (2, None, "unmapped"),
        (1, None, "not_found"),
    ]
    assert worst["q2"]["expected"][1]["document"] == {"id": None, "uri": "never.pdf", "title": None}
    assert worst["q3"]["expected"][0]["why"] == "no_answer"
    # a document that was ranked twice counts where it stands first
    assert (worst["q1"]["expected"][0]["rank"], worst["q1"]["expected"][0]["why"]) == (11, "outranked")
    assert [one["rank"] for one in worst["q1"]["found"]] == [1, 2, 3, 4, 5]


def test_what_is_below_the_last_rank_is_told_from_what_is_not_found() -> None:
    """A ranking that is full may have had it further down."""
    queries = make_queries({0: 1})
    full = evaluate(make_evaluation(queries=queries, runs=[make_run("full", [1, 2], depth=2)], width=2)).report
    short = evaluate(make_evaluation(queries=queries, runs=[make_run("short", [1], depth=1)], width=2)).report

    assert [one["worst"][0]["expected"][0]["why"] for one in (full, short)] == ["below_top_k", "not_found"]


def test_a_document_with_a_long_chunk_may_be_missed_for_that() -> None:
    """Where it is not among the first; what is known of the document itself goes before."""
    queries = make_queries({0: 1, 1: 1, 8: 1})
    run = make_run("one", [2, 1, 3])
    report = evaluate(make_evaluation(queries=queries, runs=[run], long=frozenset({0, 1, 8}))).report

    assert [one["why"] for one in report["worst"][0]["expected"]] == [None, "chunk_too_long", "unmapped"]


def test_a_worse_setting_is_called_worse() -> None:
    """With its difference, both ways to count it, and the queries that were won; the next best comes first."""
    report = evaluate(draw(np.random.default_rng(0), 120, bad=0.45, good=0.85, same=0.78)).report

    same, bad = report["comparisons"]
    assert report["best"]["name"] == "good"
    assert (report["best"]["better_than"], report["best"]["not_told_from"]) == (["bad"], ["same"])
    assert "significantly better than bad" in report["best"]["words"]
    assert (same["other"], bad["other"]) == ("same", "bad")
    assert bad["significant"] and not same["significant"]  # noqa: PT018 — one thing
    assert bad["difference"] == pytest.approx(0.4, abs=0.15)
    assert bad["p"] <= bad["p_corrected"] <= 0.05
    assert bad["wins"] - bad["losses"] == pytest.approx(120 * bad["difference"])
    assert bad["wins"] + bad["losses"] + bad["ties"] == 120
    assert bad["ci95"][0] > 0
    assert 0 < bad["smallest_difference"] < bad["difference"]
    assert [one["difference"] for one in bad["won"]] == [1.0] * 10
    assert bad["differences"] == sorted(bad["differences"])


def test_equal_settings_are_seldom_called_different() -> None:
    """Of 200 reports on four equal settings, at most 5 % name any of them better, although the best one is chosen."""
    random = np.random.default_rng(5)

    named = sum(
        bool(evaluate(draw(random, 40, a=0.5, b=0.5, c=0.5, d=0.5)).report["best"]["better_than"]) for _ in range(200)
    )

    assert named <= 200 * 0.05


def test_queries_made_of_one_document_are_not_independent() -> None:
    """Of 200 reports on two equal settings, with three queries of a document that fare alike, few name a better one."""
    random = np.random.default_rng(6)
    alarms = 0
    for _ in range(200):
        found = {name: np.repeat(random.random(40) < 0.5, 3) for name in ("a", "b")}
        queries = make_queries(*({document % 8: 1} for document in range(120)))
        queries = [replace(query, grades={at // 3: 1}) for at, query in enumerate(queries)]
        documents = [DocumentName(id=f"id-{number}", uri=f"{number}.md") for number in range(41)]
        runs = [
            make_run(name, *[[at // 3] if is_found else [40] for at, is_found in enumerate(each)])
            for name, each in found.items()
        ]
        evaluation = make_evaluation(
            documents=documents, queries=queries, runs=runs, measures=[parse_measure("mrr")], are_grouped=True
        )
        alarms += bool(evaluate(evaluation).report["best"]["better_than"])

    # 5 % are 10 of 200; more than 18 would come once in 200 times
    assert alarms <= 18


def test_what_a_threshold_leaves_out_is_told_from_what_is_not_found() -> None:
    """By the settings of the run."""
    run = make_run("short", [1], settings={"mode": "bm25", "score_threshold": 3.0})
    report = evaluate(make_evaluation(queries=make_queries({0: 1}), runs=[run])).report

    assert report["worst"][0]["expected"][0]["why"] == "filtered"


def test_a_baseline_is_compared_run_by_run() -> None:
    """With that of the same name; if none has it, the best with the best; and with none of other queries."""
    evaluation = draw(np.random.default_rng(1), 100, new=0.9, other=0.7)
    ids = [query.query_id for query in evaluation.queries]
    old: dict[str, Any] = {"query_ids": ids, "mrr": [float(at % 2) for at in range(100)]}
    worse: dict[str, Any] = {"query_ids": ids, "mrr": [0.0] * 100}

    def compare(**runs: Any) -> list[tuple[str, str, bool]]:
        baseline = BaselineValues(benchmark_id="b", runs=runs)
        found = evaluate(replace(evaluation, baseline=baseline)).report["against_baseline"]
        return [(one["run"], one["other"], one["significant"]) for one in found["comparisons"]]

    assert compare(other=old, new=worse) == [("new", "new", True), ("other", "other", True)]
    assert compare(before=old, first=worse) == [("new", "before", True)]
    assert compare(other={"query_ids": ids[1:], "mrr": [0.0] * 99}) == []
    assert compare() == []
    assert evaluate(evaluation).report["against_baseline"] is None


def test_the_report_is_json_and_depends_on_the_seed_alone() -> None:
    """Also when the evaluation went to another process."""
    evaluation = make_evaluation()

    sent = pickle.loads(pickle.dumps(evaluation))  # noqa: S301 — our own

    assert json.dumps(evaluate(evaluation).report, allow_nan=False) == json.dumps(evaluate(sent).report)


def test_the_primary_measure_decides() -> None:
    """Which is best, and what is tested."""
    queries = make_queries({0: 1, 1: 1, 2: 1})
    runs = [make_run("first", [0, 5, 6, 7]), make_run("many", [5, 0, 1, 2])]
    measures = [parse_measure("mrr"), parse_measure("recall@10")]
    evaluation = make_evaluation(queries=queries, runs=runs, measures=measures)

    by_first, by_many = (evaluate(replace(evaluation, primary=name)).report for name in ("mrr", "recall@10"))

    assert (by_first["best"]["name"], by_many["best"]["name"]) == ("first", "many")


def test_values_of_each_query_are_kept_in_their_order() -> None:
    """Of those that count."""
    evaluated = evaluate(make_evaluation())

    assert list(evaluated.query_ids) == ["q0", "q1", "q2", "q3"]
    assert evaluated.values[0].to_dict(evaluated.query_ids)["mrr"] == [1.0, 0.5, 0.0, 0.0]


def test_without_a_relevant_document_nothing_can_be_measured() -> None:
    """It is said, not guessed."""
    with pytest.raises(ValueError, match="relevant"):
        evaluate(make_evaluation(queries=make_queries({0: 0}), runs=[make_run("a", [0])]))
