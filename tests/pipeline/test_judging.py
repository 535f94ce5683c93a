"""What a benchmark has kept becomes a report, whatever has become of the collection since."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import numpy as np

from app.domain.benchmark_datasets import DatasetQuery, JudgedDocument
from app.domain.benchmarks import QueryResult
from app.domain.kept_mapping import KeptMapping
from app.pipeline.benchmark.judging import AskedRun, Judging, judge

QUERIES = 12


def make_judging(*, found: list[UUID], others: list[UUID], **changes: Any) -> Judging:
    """A query for each document, which two runs find first: one by meaning, one by words."""
    queries = [
        DatasetQuery(
            query_id=f"q{number}", text=f"words {number}", relevant=(JudgedDocument(doc=f"{number}.md", grade=1),)
        )
        for number, _ in enumerate(found)
    ]
    runs = []
    for mode, embed_ms in (("dense", 5.0), ("bm25", 0.0)):
        run = AskedRun(name=mode, settings={"mode": mode}, generation="g")
        for number, (document, other) in enumerate(zip(found, others, strict=True)):
            run.add(
                QueryResult(
                    run=0,
                    number=number,
                    query_id=f"q{number}",
                    documents=document.bytes + other.bytes,
                    scores=np.array([2, 1], dtype="<f4").tobytes(),
                    embed_ms=embed_ms,
                    search_ms=10.0,
                )
            )
        runs.append(run)
    usual = Judging(
        queries=queries,
        mapping=KeptMapping(documents={f"{number}.md": str(document) for number, document in enumerate(found)}),
        long=frozenset(),
        names=[(document.bytes, f"file:///{document}", None) for document in (*found, *others)],
        runs=runs,
        measures=["ndcg@10", "judged@10"],
        primary="ndcg@10",
        conditions=["ndcg@10 < 0.5"],
        baseline=None,
        is_synthetic=False,
        top_k=2,
        asked_seconds=0.1,
        concurrency=4,
        has_changed=False,
    )
    return replace(usual, **changes)


def draw() -> tuple[list[UUID], list[UUID]]:
    """Documents that answer, and others."""
    return [uuid4() for _ in range(QUERIES)], [uuid4() for _ in range(QUERIES)]


def test_a_document_that_was_removed_since_was_found_all_the_same() -> None:
    """It has no name any more, and that is all."""
    found, others = draw()
    judging = make_judging(found=found, others=others)

    without_names = judge(replace(judging, names=[])).report

    assert [run["metrics"]["ndcg@10"] for run in without_names["runs"]] == [1.0, 1.0]
    assert judge(judging).report["runs"][0]["metrics"] == without_names["runs"][0]["metrics"]


def test_what_was_measured_of_different_documents_passes_nothing() -> None:
    """And says so."""
    found, others = draw()

    same = judge(make_judging(found=found, others=others)).report
    changed = judge(make_judging(found=found, others=others, has_changed=True)).report

    assert {one["outcome"] for one in same["verdicts"]} == {"passed"}
    assert {one["outcome"] for one in changed["verdicts"]} == {"cannot_tell"}
    assert any("changed" in note for note in changed["notes"])


def test_how_fast_it_was_is_known_of_an_attempt_that_asked_everything() -> None:
    """A run without vectors does not hide what those of another one took."""
    found, others = draw()

    fresh = judge(make_judging(found=found, others=others)).report["asking"]
    resumed = judge(make_judging(found=found, others=others, asked_seconds=None)).report["asking"]

    assert (fresh["queries"], fresh["queries_per_second"]) == (2 * QUERIES, 240.0)
    assert fresh["embed_seconds"] == 0.06
    assert (resumed["seconds"], resumed["queries_per_second"], resumed["outside_share"]) == (None, None, None)


def test_every_query_is_kept_with_its_values() -> None:
    """By run, in the order of the dataset."""
    found, others = draw()

    scored = judge(make_judging(found=found, others=others))

    assert scored.per_query[1]["query_ids"] == [f"q{number}" for number in range(QUERIES)]
    assert scored.per_query[1]["ndcg@10"] == [1.0] * QUERIES
    assert scored.report["runs"][0]["metrics"]["judged@10"] == 0.5
