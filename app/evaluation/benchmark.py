"""What the runs of a benchmark amount to: means with intervals, what is better than what, which queries fail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.evaluation.bootstrap import Interval, mean_intervals
from app.evaluation.comparing import Comparison, compare_pairs
from app.evaluation.judged_runs import Evaluation, JudgedQuery, RunInput, RunValues
from app.evaluation.metrics import NOBODY
from app.evaluation.scoring import score_rankings
from app.evaluation.worst import describe_worst

DIGITS = 10
"""Of means: what is rounded off is less than another order of summing changes."""
CURVE = tuple(range(0, 101, 5))
"""Percentiles of latency that are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A report, and the values that it sums up, run by run."""

    report: dict[str, Any]
    query_ids: Sequence[str]
    values: Sequence[RunValues]


def evaluate(evaluation: Evaluation) -> Evaluated:
    """Score all runs by all measures, and compare the best one with the others and with the baseline.

    Raises:
        ValueError: if no query has a relevant document, so that nothing can be measured.
    """
    countable = np.array(
        [any(grade > 0 for grade in query.grades.values()) for query in evaluation.queries], dtype=bool
    )
    if not countable.any():
        raise ValueError("no query has a relevant document")
    values = [_score(evaluation, run, countable) for run in evaluation.runs]
    counted = [query for query, counts in zip(evaluation.queries, countable, strict=True) if counts]
    best = max(range(len(values)), key=lambda number: float(values[number].by_measure[evaluation.primary].mean()))
    groups = find_groups(counted) if evaluation.are_grouped else None
    comparisons = _compare_with_others(evaluation, values, best, groups)
    report = {
        "primary": evaluation.primary,
        "measures": [measure.name for measure in evaluation.measures],
        "queries": len(counted),
        "left_out": [query.query_id for query, counts in zip(evaluation.queries, countable, strict=True) if not counts],
        "runs": _describe_runs(evaluation, values, countable, groups),
        "best": _describe_best(evaluation, values[best].name, comparisons, len(counted)),
        "comparisons": [one.to_dict(counted) for one in comparisons],
        "against_baseline": _compare_with_baseline(evaluation, values, values[best].name, counted, groups),
        "worst": describe_worst(
            evaluation, evaluation.runs[best], values[best].by_measure[evaluation.primary], countable
        ),
    }
    return Evaluated(report=report, query_ids=[query.query_id for query in counted], values=values)


def _score(evaluation: Evaluation, run: RunInput, countable: NDArray[np.bool_]) -> RunValues:
    scored = score_rankings(run.ranks, [query.grades for query in evaluation.queries], evaluation.measures)
    return RunValues(name=run.name, by_measure={name: each[countable] for name, each in scored.by_measure.items()})


# --- runs ---------------------------------------------------------------------------------------


def _describe_runs(
    evaluation: Evaluation,
    values: Sequence[RunValues],
    countable: NDArray[np.bool_],
    groups: NDArray[np.int64] | None,
) -> list[dict[str, Any]]:
    names = [measure.name for measure in evaluation.measures]
    table = np.stack([run.by_measure[name] for run in values for name in names], axis=1)
    intervals = iter(mean_intervals(table, seed=evaluation.seed, groups=groups))
    return [
        {
            "name": run.name,
            "mode": run.settings.get("mode"),
            "settings": dict(run.settings),
            "generation": run.generation,
            **_describe_measures({name: next(intervals) for name in names}),
            "latency_ms": describe_latency(run.latency_ms),
            "queries": int(countable.sum()),
            "queries_failed": len(run.errors),
            "queries_missing": count_missing(run),
        }
        for run in evaluation.runs
    ]


def count_missing(run: RunInput) -> int:
    """Queries that were answered by nothing at all."""
    nothing = ~(run.ranks != NOBODY).any(axis=1)
    return int(nothing.sum()) - sum(bool(nothing[number]) for number in run.errors)


def find_groups(queries: Sequence[JudgedQuery]) -> NDArray[np.int64]:
    """Queries that one document answers have the same number: they were made of it."""
    return np.array([min(number for number, grade in query.grades.items() if grade > 0) for query in queries])


def _describe_measures(found: Mapping[str, Interval]) -> dict[str, Any]:
    return {
        "metrics": {name: round(one.mean, DIGITS) for name, one in found.items()},
        "ci95": {name: [round(one.low, 5), round(one.high, 5)] for name, one in found.items()},
    }


def describe_latency(milliseconds: NDArray[np.float64]) -> dict[str, Any]:
    """Percentiles of what has an answer; None where nothing has."""
    answered = milliseconds[np.isfinite(milliseconds)]
    if not len(answered):
        return {"p50": None, "p95": None, "p99": None, "mean": None, "curve": []}
    p50, p95, p99 = (round(float(value), 3) for value in np.percentile(answered, (50, 95, 99)))
    curve = [round(float(value), 3) for value in np.percentile(answered, CURVE)]
    return {"p50": p50, "p95": p95, "p99": p99, "mean": round(float(answered.mean()), 3), "curve": curve}


# --- which is better ----------------------------------------------------------------------------


def _compare_with_others(
    evaluation: Evaluation, values: Sequence[RunValues], best: int, groups: NDArray[np.int64] | None
) -> list[Comparison]:
    """The best run with each other one, the next best first.

    Which run is the best is known by the same values, so the correction is that for all pairs, not for these alone.
    """
    primary = evaluation.primary
    means = [float(run.by_measure[primary].mean()) for run in values]
    others = sorted((number for number in range(len(values)) if number != best), key=lambda number: -means[number])
    pairs = [
        (values[best].name, values[best].by_measure[primary], values[number].name, values[number].by_measure[primary])
        for number in others
    ]
    every_pair = len(values) * (len(values) - 1) // 2
    return compare_pairs(pairs, tests=every_pair, seed=evaluation.seed, groups=groups)


def _describe_best(
    evaluation: Evaluation, name: str, comparisons: Sequence[Comparison], queries: int
) -> dict[str, Any]:
    better = [one.other for one in comparisons if one.significant]
    alike = [one.other for one in comparisons if not one.significant]
    return {
        "name": name,
        "better_than": better,
        "not_told_from": alike,
        "words": _words(evaluation.primary, name, better, alike, queries),
    }


def _words(primary: str, name: str, better: Sequence[str], alike: Sequence[str], queries: int) -> str:
    if not better and not alike:
        return f"{name} is the only run"
    over = f"over {queries} queries"
    if not better:
        return f"{name} has the highest {primary}, but {over} it cannot be told from {_join(alike)}"
    if not alike:
        return f"{name} is significantly better than {_join(better)} by {primary}, {over}"
    return (
        f"{name} is significantly better than {_join(better)} by {primary}, {over};"
        f" it cannot be told from {_join(alike)}"
    )


def _join(names: Sequence[str]) -> str:
    shown = list(names[:5]) + ([f"{len(names) - 5} others"] if len(names) > 5 else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _compare_with_baseline(
    evaluation: Evaluation,
    values: Sequence[RunValues],
    best: str,
    counted: Sequence[JudgedQuery],
    groups: NDArray[np.int64] | None,
) -> dict[str, Any] | None:
    """Runs with those of the same name that the baseline has, or else the best of both.

    Which are the best is known by the same values, so that is one of all pairs.
    """
    if evaluation.baseline is None:
        return None
    primary, ids = evaluation.primary, [query.query_id for query in counted]
    pairs, chosen = [], pair_runs(evaluation.baseline.runs, [run.name for run in values], best, primary)
    for run in values:
        before = evaluation.baseline.runs.get(chosen.get(run.name, ""))
        if before is None or primary not in before or list(before["query_ids"]) != ids:
            continue
        then = np.array(before[primary], dtype=np.float64)
        pairs.append((run.name, run.by_measure[primary], chosen[run.name], then))
    before_runs = evaluation.baseline.runs
    is_chosen = bool(pairs) and pairs[0][0] not in before_runs
    tests = len(values) * len(before_runs) if is_chosen else len(pairs)
    compared = compare_pairs(pairs, tests=tests, seed=evaluation.seed, groups=groups)
    return {
        "benchmark_id": evaluation.baseline.benchmark_id,
        "comparisons": [one.to_dict(counted) for one in compared],
    }


def pair_runs(before: Mapping[str, Mapping[str, Any]], names: Sequence[str], best: str, primary: str) -> dict[str, str]:
    """The run of the baseline that each run is compared with: that of the same name, or else the best with the best."""
    same = {name: name for name in names if name in before}
    if same or not before:
        return same
    return {best: max(before, key=lambda name: float(np.mean(before[name].get(primary) or [-1.0])))}
