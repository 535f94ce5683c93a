"""Each check by itself: what passes, what does not, and what its numbers say."""

from typing import Any

import numpy as np
import orjson
import pytest

from app.evaluation.bootstrap import Interval
from app.evaluation.checks import LATENCY_FLOOR_MS, Judge
from app.evaluation.findings import SHOWN, Canaries, Coverage, Found, Meaning, Overlap, Quality, Recut, Shape
from app.evaluation.policy import DEFAULT, REPORT_ONLY, STRICT, CheckName
from app.evaluation.report import Check, Report, read_report

JUDGE = Judge(policy=DEFAULT)
SAME = Canaries(passed=True, words="as they were", fingerprint="f")


def found(count: int) -> Found:
    """So many things."""
    things = Found()
    for number in range(count):
        things.add(number)
    return things


def interval(mean: float, low: float) -> Interval:
    """One whose upper end does not matter."""
    return Interval(mean=mean, low=low, high=2 * mean - low)


def quality(**measures: Interval) -> Quality:
    """What searches gave."""
    return Quality(queries=100, pooled=measures)


def test_completeness_counts_both_ways() -> None:
    """Missing and extra points are wrong, and the first of them are listed."""
    assert JUDGE.completeness(expected=5, missing=found(0), extra=found(0)).passed
    check = JUDGE.completeness(expected=5, missing=found(30), extra=found(1))

    assert (check.passed, check.value, check.hard) == (False, 31, True)
    assert check.detail["missing"] == {"count": 30, "first": [str(number) for number in range(SHOWN)]}
    assert check.detail["extra"] == {"count": 1, "first": ["0"]}


@pytest.mark.parametrize(
    ("old", "new", "passed"), [(100, 110, True), (100, 111, False), (100, 89, False), (0, 0, True), (0, 9, False)]
)
def test_vector_count_within_a_tenth(old: int, new: int, passed: bool) -> None:  # noqa: FBT001 — a table
    """Only where documents are cut as before; otherwise any number is explained."""
    assert JUDGE.vector_count(old=old, new=new, is_comparable=True).passed is passed
    assert JUDGE.vector_count(old=old, new=new, is_comparable=False).passed


def covered(*pairs: tuple[int, int]) -> Coverage:
    """Characters of documents, old and new."""
    coverage = Coverage()
    for number, (old, new) in enumerate(pairs):
        coverage.add(number, old=old, new=new)
    return coverage


def test_documents_keep_their_text() -> None:
    """The document that has lost most counts, not the mean; one that is gone has lost all."""
    assert JUDGE.documents(covered((100, 100), (1000, 995)), is_same_text=True).passed
    thinned = JUDGE.documents(covered(*[(100, 100)] * 50, (100, 60)), is_same_text=True)
    lost = JUDGE.documents(covered((100, 100), (100, 0)), is_same_text=True)

    assert (thinned.passed, thinned.value) == (False, 0.6)
    assert thinned.detail["least"] == [{"document_id": "50", "share": 0.6}]
    assert (lost.passed, lost.value, lost.detail["lost"]["first"]) == (False, 0.0, ["1"])


def test_text_that_comes_twice_is_no_better() -> None:
    """A document with more text than there is has something wrong with it too."""
    assert JUDGE.documents(covered((100, 200)), is_same_text=True).value == 0.5
    assert not JUDGE.documents(covered((0, 10)), is_same_text=True).passed


def test_documents_that_are_extracted_anew_may_change() -> None:
    """Text may go and come, but not half of all of it, and hardly any document may come out empty."""
    assert JUDGE.documents(covered((100, 60), (100, 140)), is_same_text=False).passed
    assert not JUDGE.documents(covered((100, 40), (100, 50)), is_same_text=False).passed
    assert not JUDGE.documents(covered((100, 100), (1, 0)), is_same_text=False).passed
    assert JUDGE.documents(covered(*[(100, 100)] * 99, (1, 0)), is_same_text=False).passed


def test_worst_documents_are_bounded() -> None:
    """However many differ, the worst ten are kept, worst first."""
    coverage = covered(*[(1000, 1000 - number) for number in range(1, 101)])

    assert [item["document_id"] for item in coverage.worst()] == [str(number) for number in range(99, 89, -1)]


def test_texts_have_their_ids_and_their_places() -> None:
    """Each wrong id and each place that is taken twice is one too many."""
    assert JUDGE.texts(chunks=9, wrong=found(0), repeated=found(0)).passed
    assert JUDGE.texts(chunks=9, wrong=found(1), repeated=found(2)).value == 3


def recut(*, same: int, total: int) -> Recut:
    """One document."""
    counted = Recut()
    counted.add("a", same=same, total=total)
    return counted


def test_chunks_come_out_again() -> None:
    """Nearly all of them must, and none may be too large."""
    assert JUDGE.chunking(recut(same=9, total=10), too_large=found(0)).passed
    assert not JUDGE.chunking(recut(same=8, total=10), too_large=found(0)).passed
    assert not JUDGE.chunking(recut(same=10, total=10), too_large=found(1)).passed
    assert not JUDGE.chunking(Recut(), too_large=found(0)).passed


def test_texts_that_cannot_be_cut_again() -> None:
    """A child that takes too long leaves the check unmade, which the default refuses."""
    check = JUDGE.chunking(Recut(error_code="process_timeout"), too_large=found(0))

    assert (check.passed, check.value, check.detail["not_made"]) == (False, None, "process_timeout")


@pytest.mark.parametrize("kind", ["not_finite", "zero", "not_unit"])
def test_one_bad_vector_is_too_many(kind: str) -> None:
    """Whatever is wrong with it, and it is listed."""
    shape = Shape(8, 8)
    getattr(shape, kind).add("p")
    check = JUDGE.uniformity(shape, SAME)

    assert (check.passed, check.value, check.detail[kind]["first"]) == (False, 1, ["p"])
    assert JUDGE.uniformity(Shape(8, 8), SAME).passed


def test_dimension_and_canaries_are_part_of_uniformity() -> None:
    """Another size of vectors, or another model, each count as one thing that is wrong."""
    changed = Canaries(passed=False, words="differ", fingerprint="f")

    assert JUDGE.uniformity(Shape(4, 8), SAME).value == 1
    assert JUDGE.uniformity(Shape(4, 8), changed).value == 2


def meaning(*cosines: float) -> Meaning:
    """Texts that were embedded again."""
    compared = Meaning()
    for number, cosine in enumerate(cosines):
        compared.add(number, cosine, least=0.999)
    return compared


def test_vectors_belong_to_their_texts() -> None:
    """By their check or by their meaning; a cosine that is no number is as wrong as can be."""
    assert JUDGE.vectors(unbound=found(0), meaning=meaning(1.0, 0.9995)).passed
    assert JUDGE.vectors(unbound=found(0), meaning=meaning(1.0, 0.998)).value == 1
    assert JUDGE.vectors(unbound=found(3), meaning=meaning(1.0)).value == 3
    spoiled = JUDGE.vectors(unbound=found(0), meaning=meaning(float("nan")))
    assert (spoiled.passed, "-1.0000" in spoiled.summary) == (False, True)


def test_a_model_that_refuses_leaves_vectors_unmade() -> None:
    """Which the default does not let pass; vectors of other points are found without it."""
    silent = Meaning(error_code="embedder_refuses_access")
    unmade = JUDGE.vectors(unbound=found(0), meaning=silent)

    assert (unmade.passed, unmade.is_made) == (False, False)
    assert not JUDGE.vectors(unbound=found(0), meaning=Meaning(refused=5)).passed
    assert JUDGE.vectors(unbound=found(1), meaning=silent).value == 1


def test_payloads_and_filters() -> None:
    """Wrong payloads and wrong counts add up."""
    assert JUDGE.payloads(wrong=found(0), filtered=found(0), asked=5).passed
    assert JUDGE.payloads(wrong=found(2), filtered=found(1), asked=5).value == 3


def test_words_find_their_texts() -> None:
    """Nineteen of twenty; a collection without sparse vectors finds none, one without words was not asked."""
    assert JUDGE.sparse(has_sparse=True, found=19, missed=found(1)).passed
    assert not JUDGE.sparse(has_sparse=True, found=18, missed=found(1)).passed
    assert JUDGE.sparse(has_sparse=False, found=0, missed=found(0)).value == 0
    unmade = JUDGE.sparse(has_sparse=True, found=0, missed=found(0))
    assert (unmade.passed, unmade.is_made) == (True, False)
    assert not Judge(policy=STRICT).sparse(has_sparse=True, found=0, missed=found(0)).passed


def test_index_health_is_a_mean() -> None:
    """0.95 over all vectors; without any there is nothing to search."""
    assert JUDGE.index_health(np.array([1.0, 0.9])).passed
    assert not JUDGE.index_health(np.array([1.0, 0.88])).passed
    assert not JUDGE.index_health(np.empty(0)).passed


def test_overlap_counts_where_nothing_has_changed() -> None:
    """The worse mode counts; with another model or other chunks hits may move."""
    moved = ({"query": "q", "overlap": 0.5, "old": ["a"], "new": ["b"]},)
    by_mode = {"dense": Overlap(queries=2, mean=0.99), "hybrid": Overlap(queries=2, mean=0.8, moved=moved)}

    check = JUDGE.search_overlap(by_mode, is_comparable=True)

    assert (check.passed, check.value) == (False, 0.8)
    assert check.detail["moved"] == {"dense": [], "hybrid": list(moved)}
    assert JUDGE.search_overlap(by_mode, is_comparable=False).passed


@pytest.mark.parametrize(
    ("mean", "low", "passed", "made"),
    [
        (0.01, -0.01, True, True),
        (-0.01, -0.02, True, True),
        (-0.01, -0.025, False, True),
        (-0.03, -0.04, False, True),
        (0.0, -0.05, True, False),
        (-0.019, -0.05, True, False),
        (-0.021, -0.05, False, True),
    ],
)
def test_quality_by_the_lower_end(mean: float, low: float, passed: bool, made: bool) -> None:  # noqa: FBT001 — a table
    """A loss that cannot be ruled out refuses; where the sample is too small to rule out anything the mean does."""
    check = JUDGE.search_quality(quality(judged_mrr=interval(mean, low)), is_same_cut=True)

    assert (check.passed, check.is_made) == (passed, made)
    assert check.detail["measures"]["judged_mrr"]["low"] == low


def test_the_worst_measure_counts() -> None:
    """One that is worse is not made good by others; and one that cannot tell does not hide it."""
    good, vague, bad = interval(0.1, 0.05), interval(0.0, -0.05), interval(-0.05, -0.06)

    check = JUDGE.search_quality(quality(known_item_mrr=good, judged_mrr=bad, vague=vague), is_same_cut=True)

    assert (check.passed, check.value, check.threshold) == (False, -0.06, -0.02)
    assert check.summary.startswith("judged_mrr -0.0500")


def test_known_items_say_less_about_other_chunks() -> None:
    """They may lose a tenth there; judged queries may not."""
    loss = interval(-0.05, -0.08)

    assert not JUDGE.search_quality(quality(known_item_mrr=loss), is_same_cut=True).passed
    assert JUDGE.search_quality(quality(known_item_mrr=loss), is_same_cut=False).passed
    assert not JUDGE.search_quality(quality(judged_mrr=loss), is_same_cut=False).passed
    assert not JUDGE.search_quality(quality(known_item_mrr=interval(-0.2, -0.22)), is_same_cut=False).passed


def test_strict_takes_no_vague_answer() -> None:
    """Too few queries are no proof."""
    check = Judge(policy=STRICT).search_quality(quality(known_item_mrr=interval(0.0, -0.05)), is_same_cut=True)

    assert (check.passed, check.detail["not_made"]) == (False, "too_few_queries")


def test_latency_has_a_floor() -> None:
    """Twice as slow is too slow, unless both are so fast that nobody could tell."""
    assert JUDGE.latency(old_ms=[20.0] * 9, new_ms=[39.0] * 9).passed
    slow = JUDGE.latency(old_ms=[20.0] * 9, new_ms=[41.0] * 9)
    assert (slow.passed, slow.hard, slow.value) == (False, False, 2.05)
    assert JUDGE.latency(old_ms=[0.4] * 9, new_ms=[1.0] * 9).passed
    assert JUDGE.latency(old_ms=[0.0] * 9, new_ms=[LATENCY_FLOOR_MS] * 9).passed
    assert Judge(policy=STRICT).latency(old_ms=[20.0], new_ms=[41.0]).hard


def test_a_soft_check_refuses_nothing() -> None:
    """A report passes while no hard check fails; an empty one says nothing and does not pass."""
    failed = Judge(policy=REPORT_ONLY).completeness(expected=1, missing=found(1), extra=found(0))
    hard = JUDGE.completeness(expected=1, missing=found(1), extra=found(0))

    assert Report(checks=(failed,)).passed
    assert Report(checks=(failed,)).failed == ["completeness"]
    assert not Report(checks=(failed, hard)).passed
    assert not Report(checks=()).passed


def test_a_report_survives_being_stored() -> None:
    """JSON and back, with numpy's numbers on the way."""
    overlap = {"dense": Overlap(queries=1, mean=float(np.float64(0.5)))}
    checks = (
        JUDGE.index_health(np.array([0.96])),
        JUDGE.search_overlap(overlap, is_comparable=True),
        JUDGE.unmade(CheckName.LATENCY, reason="embedder_unavailable", summary="no answer"),
        JUDGE.empty(CheckName.SPARSE),
        JUDGE.failed(CheckName.VECTORS, code="generation_missing", summary="gone"),
    )
    report = Report(checks=checks)
    stored: dict[str, Any] = orjson.loads(orjson.dumps(report.to_dict()))

    assert stored["passed"] is False
    assert list(stored["checks"][0]) == ["name", "passed", "hard", "value", "threshold", "detail"]
    assert read_report(stored) == report
    assert isinstance(report.check("sparse"), Check)
