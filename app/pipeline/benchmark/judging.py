"""Judges what the runs of a benchmark have found. Pure, and run in a child process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.domain.benchmark_datasets import DatasetQuery
from app.domain.benchmarks import QueryResult
from app.domain.kept_mapping import KeptMapping
from app.evaluation.benchmark import Evaluated, evaluate, find_groups, pair_runs
from app.evaluation.conditions import Outcome, judge_condition, parse_condition
from app.evaluation.judged_runs import BaselineValues, DocumentName, Evaluation, JudgedQuery, RunInput
from app.evaluation.measures import parse_measure
from app.evaluation.metrics import NOBODY
from app.pipeline.benchmark.partial import ID_BYTES, key_of, split_ids

SEED = 42


@dataclass(slots=True, kw_only=True)
class AskedRun:
    """What one run has found, by the numbers of queries."""

    name: str
    settings: Mapping[str, Any]
    generation: str
    results: dict[int, QueryResult] = field(default_factory=dict)

    def add(self, result: QueryResult) -> None:
        """One more query."""
        self.results[result.number] = result


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """Everything a report is made of.

    Attributes:
        long: ids of 16 bytes of documents with a very long chunk.
        names: id of 16 bytes, URI and title of documents that may be shown.
    """

    queries: Sequence[DatasetQuery]
    mapping: KeptMapping
    long: frozenset[bytes]
    names: Sequence[tuple[bytes, str, str | None]]
    runs: Sequence[AskedRun]
    measures: Sequence[str]
    primary: str
    conditions: Sequence[str]
    baseline: BaselineValues | None
    is_synthetic: bool
    top_k: int
    asked_seconds: float | None
    concurrency: int
    has_changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A report, and by the numbers of runs the values of each query."""

    report: dict[str, Any]
    per_query: dict[int, dict[str, Any]]


class _Numbers:
    """Numbers of documents, with what is known of each."""

    def __init__(self, judging: Judging) -> None:
        self._names = {key: (uri, title) for key, uri, title in judging.names}
        self._known: dict[bytes, int] = {}
        self.documents: list[DocumentName] = []
        self.reasons: dict[int, str] = {}
        self._reasons = judging.mapping.reasons

    def of(self, key: bytes, *, given: str | None = None) -> int:
        """The number of a document that has an id, or of one that is only ``given`` in a dataset."""
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self.documents)
            uri, title = self._names.get(key, (given or "", None))
            is_ours = len(key) == ID_BYTES and given is None
            self.documents.append(DocumentName(id=str(UUID(bytes=key)) if is_ours else None, uri=uri, title=title))
            if given is not None:
                self.reasons[number] = self._reasons.get(given, "not_indexed")
        return number

    def judged(self, grades: Mapping[str, int], mapped: frozenset[bytes]) -> dict[int, int]:
        """Grades by number."""
        numbered = {}
        for document, grade in grades.items():
            key = key_of(document)
            numbered[self.of(key) if key in mapped else self.of(b"?" + key, given=document)] = grade
        return numbered


def judge(judging: Judging) -> Scored:
    """The report of a benchmark."""
    numbers = _Numbers(judging)
    # also of documents that have been removed since
    mapped = frozenset(UUID(document).bytes for document in judging.mapping.documents.values())
    queries = [
        JudgedQuery(
            query_id=query.query_id,
            text=query.text,
            grades=numbers.judged(judging.mapping.grades_of(query), mapped),
        )
        for query in judging.queries
    ]
    runs = [_number_run(run, len(queries), numbers) for run in judging.runs]
    evaluated = evaluate(
        Evaluation(
            documents=numbers.documents,
            queries=queries,
            runs=runs,
            measures=[parse_measure(name) for name in judging.measures],
            primary=judging.primary,
            seed=SEED,
            reasons=numbers.reasons,
            long=frozenset(numbers.of(key) for key in judging.long),
            width=judging.top_k,
            are_grouped=judging.is_synthetic,
            baseline=judging.baseline,
        )
    )
    values = [one.to_dict(evaluated.query_ids) for one in evaluated.values]
    report = evaluated.report | {
        "coverage": dict(judging.mapping.coverage),
        "is_synthetic": judging.is_synthetic,
        "queries_failed": sum(run["queries_failed"] for run in evaluated.report["runs"]),
        "asking": _describe_asking(judging),
        "notes": _list_notes(judging, evaluated.report),
    }
    by_name = dict(zip((run.name for run in judging.runs), values, strict=True))
    report["verdicts"] = _judge_conditions(
        judging, by_name, report["best"]["name"], _group(judging, evaluated, queries)
    )
    return Scored(report=report, per_query=dict(enumerate(values)))


def _group(judging: Judging, evaluated: Evaluated, queries: Sequence[JudgedQuery]) -> dict[str, int] | None:
    """By query id, which queries are not independent; None if all are."""
    if not judging.is_synthetic:
        return None
    known = {query.query_id: query for query in queries}
    groups = find_groups([known[query_id] for query_id in evaluated.query_ids])
    return dict(zip(evaluated.query_ids, groups.tolist(), strict=True))


def _list_notes(judging: Judging, report: Mapping[str, Any]) -> list[str]:
    notes = []
    if judging.has_changed:
        notes.append("the collection has changed while it was measured: runs are not all of the same documents")
    if report["left_out"]:
        notes.append(f"{len(report['left_out'])} queries without a relevant document are left out")
    if judging.baseline is not None and not report["against_baseline"]["comparisons"]:
        notes.append("no run could be compared with the baseline, which is gone or has none of these measures")
    return notes


def _number_run(run: AskedRun, queries: int, numbers: _Numbers) -> RunInput:
    depth = max((len(one.documents) // ID_BYTES for one in run.results.values()), default=0)
    ranks = np.full((queries, max(depth, 1)), NOBODY, dtype=np.int64)
    latency: NDArray[np.float64] = np.full(queries, np.nan)
    errors = {}
    for place, one in run.results.items():
        found = split_ids(one.documents)
        ranks[place, : len(found)] = [numbers.of(key) for key in found]
        if one.error_code is None:
            latency[place] = one.embed_ms + one.search_ms
        else:
            errors[place] = one.error_code
    return RunInput(
        name=run.name,
        settings=dict(run.settings),
        generation=run.generation,
        ranks=ranks,
        latency_ms=latency,
        errors=errors,
    )


def _describe_asking(judging: Judging) -> dict[str, Any]:
    """How fast queries were asked, all runs together, and what share of that was neither search nor embedding.

    A vector that several runs share was made once. Of a benchmark that was resumed nothing can be said.
    """
    results = [one for run in judging.runs for one in run.results.values()]
    searching = sum(one.search_ms for one in results) / 1000
    made: dict[tuple[str, int], float] = {}
    for run in judging.runs:
        for one in run.results.values():
            key = (run.generation, one.number)
            made[key] = max(made.get(key, 0.0), one.embed_ms)
    embedding = sum(made.values()) / 1000
    seconds = judging.asked_seconds
    busy = (searching + embedding) / judging.concurrency
    return {
        "queries": len(results),
        "seconds": round(seconds, 3) if seconds else None,
        "queries_per_second": round(len(results) / seconds, 1) if seconds else None,
        "search_seconds": round(searching, 3),
        "embed_seconds": round(embedding, 3),
        "concurrency": judging.concurrency,
        "outside_share": round(max(0.0, 1 - busy / seconds), 4) if seconds else None,
    }


# --- conditions -------------------------------------------------------------------------------------


def _judge_conditions(
    judging: Judging, by_name: Mapping[str, Mapping[str, Any]], best: str, groups: Mapping[str, int] | None
) -> list[dict[str, Any]]:
    """Each condition of each run: absolute ones of all runs, others of those that the baseline has a run for."""
    before = judging.baseline.runs if judging.baseline else {}
    pairs = pair_runs(before, list(by_name), best, judging.primary)
    verdicts = []
    for text in judging.conditions:
        if not parse_condition(text).is_relative:
            verdicts += [_verdict(text, name, values, None, groups) for name, values in by_name.items()]
            continue
        if not pairs:
            verdicts.append({"condition": text, "outcome": "cannot_tell", "words": f"{text}: the baseline is gone"})
        verdicts += [_verdict(text, name, by_name[name], before[other], groups) for name, other in pairs.items()]
    return [_doubt(verdict) for verdict in verdicts] if judging.has_changed else verdicts


def _doubt(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured of different documents says nothing."""
    words = f"the collection has changed while it was measured; {verdict['words']}"
    return {**verdict, "outcome": Outcome.CANNOT_TELL.value, "words": words}


def _verdict(
    text: str,
    run: str,
    values: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    groups: Mapping[str, int] | None,
) -> dict[str, Any]:
    condition = parse_condition(text)
    name = condition.measure.name
    now = dict(zip(values["query_ids"], values[name], strict=True))
    if before is None:
        verdict = judge_condition(
            condition, np.array(list(now.values())), None, seed=SEED, groups=_number(groups, list(now))
        )
        return {"condition": text, "run": run, **verdict.to_dict()}
    if name not in before:
        words = f"{text}: the baseline was not measured by {name}"
        return {"condition": text, "run": run, "outcome": "cannot_tell", "words": words}
    then = dict(zip(before["query_ids"], before[name], strict=True))
    shared = [query for query in now if query in then]
    verdict = judge_condition(
        condition,
        np.array([now[query] for query in shared]),
        np.array([then[query] for query in shared]),
        seed=SEED,
        groups=_number(groups, shared),
    )
    return {"condition": text, "run": run, **verdict.to_dict()}


def _number(groups: Mapping[str, int] | None, queries: Sequence[str]) -> NDArray[np.int64] | None:
    return None if groups is None else np.array([groups[query] for query in queries], dtype=np.int64)
