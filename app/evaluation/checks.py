"""The checks of a rebuilt generation: numbers in, a judgment out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.evaluation.findings import KNOWN_ITEM, Canaries, Coverage, Found, Meaning, Overlap, Quality, Recut, Shape
from app.evaluation.metrics import Scores
from app.evaluation.policy import CheckName, Policy
from app.evaluation.report import NOT_MADE, SUMMARY, Check

EXPLAINED_COVERAGE = 0.5
"""Where documents are extracted in another way their text may change, but nobody wants half of it gone."""
EXPLAINED_LOSS = 0.01
"""The share of documents that may come out empty then."""
RECUT_MARGIN = 0.1
"""Queries made of documents are about as long as a small chunk, which is found by them sooner than a large one: where
documents are cut in another way that says less than it seems, and this much is no loss."""
LATENCY_FLOOR_MS = 10.0
"""A 95th percentile below this is fast enough, however much faster the old one was."""
PERCENTILE = 95
DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Makes checks by a policy."""

    policy: Policy

    def made(
        self,
        name: CheckName,
        *,
        value: float,
        passed: bool,
        summary: str,
        threshold: float | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> Check:
        """A check that was made; the threshold is the policy's unless another one applied."""
        rule = self.policy.rule(name)
        return Check(
            name=name.value,
            passed=passed,
            hard=rule.hard,
            value=round(value, DIGITS),
            threshold=rule.threshold if threshold is None else threshold,
            detail={SUMMARY: summary, **(detail or {})},
        )

    def unmade(
        self, name: CheckName, *, reason: str, summary: str, detail: Mapping[str, object] | None = None
    ) -> Check:
        """A check that could not be made: the policy says whether it passes."""
        rule = self.policy.rule(name)
        return Check(
            name=name.value,
            passed=rule.passes_unmade,
            hard=rule.hard,
            value=None,
            threshold=rule.threshold,
            detail={SUMMARY: f"not made: {summary}", NOT_MADE: reason, **(detail or {})},
        )

    def empty(self, name: CheckName) -> Check:
        """A check of a collection that holds nothing, which may be rebuilt as any other."""
        return self.made(name, value=0.0, passed=True, summary="the collection is empty")

    def failed(self, name: CheckName, *, code: str, summary: str) -> Check:
        """A check that cannot be made because what it looks at is broken."""
        rule = self.policy.rule(name)
        detail = {SUMMARY: summary, "error_code": code}
        return Check(name=name.value, passed=False, hard=rule.hard, value=None, threshold=rule.threshold, detail=detail)

    def _counted(self, name: CheckName, count: int, *, summary: str, detail: Mapping[str, object]) -> Check:
        """One whose value is how many things are wrong."""
        passed = count <= self.policy.rule(name).threshold
        return self.made(name, value=count, passed=passed, summary=summary, detail=detail)

    # --- what is there --------------------------------------------------------------------------

    def completeness(self, *, expected: int, missing: Found, extra: Found) -> Check:
        """The store holds the points of the manifest and no others."""
        wrong = missing.count + extra.count
        summary = f"{expected} points expected, {missing.count} missing, {extra.count} nobody expects"
        detail = {"missing": missing.to_dict(), "extra": extra.to_dict()}
        return self._counted(CheckName.COMPLETENESS, wrong, summary=summary, detail=detail)

    def vector_count(self, *, old: int, new: int, is_comparable: bool) -> Check:
        """As many points as before, where documents are cut as before."""
        name = CheckName.VECTOR_COUNT
        ratio = new / old if old else float(new + 1)
        passed = not is_comparable or round(abs(ratio - 1), DIGITS) <= self.policy.rule(name).threshold
        why = "" if is_comparable else ", as documents are cut in another way"
        return self.made(name, value=ratio, passed=passed, summary=f"{new} points instead of {old}{why}")

    def documents(self, coverage: Coverage, *, is_same_text: bool) -> Check:
        """Both generations hold the same documents, and all of their text."""
        name = CheckName.DOCUMENTS
        lists = {"lost": coverage.lost.to_dict(), "new": coverage.gained.to_dict(), "least": coverage.worst()}
        changed = f"{coverage.lost.count} documents lost, {coverage.gained.count} that were not there"
        if is_same_text:
            value, threshold = coverage.smallest, self.policy.rule(name).threshold
            passed = value >= threshold
            summary = f"every document has at least {value:.1%} of its text in both; {changed}"
        else:
            value, threshold = coverage.total, EXPLAINED_COVERAGE
            passed = value >= threshold and coverage.lost.count <= EXPLAINED_LOSS * coverage.documents
            summary = f"{value:.1%} as much text, as it is extracted in another way; {changed}"
        return self.made(name, value=value, passed=passed, summary=summary, threshold=threshold, detail=lists)

    def texts(self, *, chunks: int, wrong: Found, repeated: Found) -> Check:
        """Ids of chunks are those of their texts, and no place of a document comes twice."""
        summary = (
            f"of {chunks} chunks {wrong.count} with the id of another text, {repeated.count} at a place that is taken"
        )
        detail = {"wrong": wrong.to_dict(), "repeated": repeated.to_dict()}
        return self._counted(CheckName.TEXTS, wrong.count + repeated.count, summary=summary, detail=detail)

    def chunking(self, recut: Recut, *, too_large: Found) -> Check:
        """No chunk is larger than was asked for, and cutting the texts again gives the same chunks."""
        name = CheckName.CHUNKING
        large = f"{too_large.count} chunks larger than was asked for"
        if recut.error_code is not None and too_large.count == 0:
            summary = f"texts cannot be cut again ({recut.error_code})"
            return self.unmade(name, reason=recut.error_code, summary=summary)
        value = recut.same / recut.total if recut.total else 0.0
        passed = value >= self.policy.rule(name).threshold and too_large.count == 0
        summary = f"{value:.1%} of the chunks of {recut.documents} documents came out again; {large}"
        detail = {"too_large": too_large.to_dict(), "differing": recut.differing.to_dict()}
        return self.made(name, value=value, passed=passed, summary=summary, detail=detail)

    # --- what the points are --------------------------------------------------------------------

    def uniformity(self, shape: Shape, canaries: Canaries) -> Check:
        """All vectors are unit vectors of one model, which still is what it was."""
        bad = shape.not_finite.count + shape.zero.count + shape.not_unit.count
        wrong = bad + (not canaries.passed) + (shape.dimension != shape.expected_dimension)
        summary = (
            f"{shape.zero.count} vectors of zeros, {shape.not_finite.count} not finite,"
            f" {shape.not_unit.count} of another length than 1; {shape.dimension} dimensions"
            f" of {shape.expected_dimension}; canaries {canaries.words}"
        )
        lists = {"zero": shape.zero, "not_finite": shape.not_finite, "not_unit": shape.not_unit}
        detail = {"fingerprint": canaries.fingerprint, **{key: found.to_dict() for key, found in lists.items()}}
        return self._counted(CheckName.UNIFORMITY, wrong, summary=summary, detail=detail)

    def vectors(self, *, unbound: Found, meaning: Meaning) -> Check:
        """Each vector is that of its own text."""
        name = CheckName.VECTORS
        if meaning.error_code is not None and unbound.count == 0:
            summary = f"the model does not embed texts again ({meaning.error_code})"
            return self.unmade(name, reason=meaning.error_code, summary=summary)
        if meaning.compared == 0 and unbound.count == 0:
            words = f"of no vector it is known which text it is of ({meaning.refused} texts refused by the model)"
            return self.unmade(name, reason="nothing_compared", summary=words)
        # the same vectors may be wrong by both, and not all were embedded again
        wrong = max(unbound.count, meaning.wrong.count)
        summary = (
            f"{meaning.compared} texts embedded again, {meaning.wrong.count} with another vector"
            f" (smallest cosine {meaning.smallest:.4f}); {unbound.count} vectors of other points"
        )
        detail = {"wrong": meaning.wrong.to_dict(), "unbound": unbound.to_dict(), "refused": meaning.refused}
        return self._counted(name, wrong, summary=summary, detail=detail)

    def payloads(self, *, wrong: Found, filtered: Found, asked: int) -> Check:
        """Filters find what belongs to a document."""
        summary = (
            f"{wrong.count} points with a wrong payload; for {filtered.count} of {asked} documents"
            " filters find another number of points"
        )
        detail = {"wrong": wrong.to_dict(), "documents": filtered.to_dict()}
        return self._counted(CheckName.PAYLOADS, wrong.count + filtered.count, summary=summary, detail=detail)

    # --- what searches find ---------------------------------------------------------------------

    def sparse(self, *, has_sparse: bool, found: int, missed: Found) -> Check:
        """Each text is found by its own words."""
        name, asked = CheckName.SPARSE, found + missed.count
        if not has_sparse:
            return self.made(name, value=0.0, passed=False, summary="there is no index of words")
        if asked == 0:
            return self.unmade(name, reason="no_texts", summary="no text has words to ask for")
        value = found / asked
        passed = value >= self.policy.rule(name).threshold
        summary = f"{found} of {asked} texts found by their own words"
        return self.made(name, value=value, passed=passed, summary=summary, detail={"missed": missed.to_dict()})

    def index_health(self, recalls: Scores) -> Check:
        """The index finds what a plain scan finds."""
        name = CheckName.INDEX_HEALTH
        if len(recalls) == 0:
            return self.failed(name, code="no_points", summary="there is no point to search for")
        value = float(recalls.mean())
        passed = value >= self.policy.rule(name).threshold
        summary = (
            f"recall@10 against a plain scan {value:.3f} over {len(recalls)} vectors, {recalls.min():.2f} at worst"
        )
        return self.made(name, value=value, passed=passed, summary=summary)

    def search_overlap(self, by_mode: Mapping[str, Overlap], *, is_comparable: bool) -> Check:
        """The same hits as before, where nothing is different."""
        name = CheckName.SEARCH_OVERLAP
        value = min(overlap.mean for overlap in by_mode.values())
        passed = not is_comparable or value >= self.policy.rule(name).threshold
        why = "" if is_comparable else "; hits may move, as the model or the chunks are others"
        means = ", ".join(f"{mode} {overlap.mean:.3f}" for mode, overlap in by_mode.items())
        queries = next(iter(by_mode.values())).queries
        moved = {mode: list(overlap.moved) for mode, overlap in by_mode.items()}
        summary = f"mean overlap@10 of {queries} queries: {means}{why}"
        return self.made(name, value=value, passed=passed, summary=summary, detail={"moved": moved})

    def search_quality(self, quality: Quality, *, is_same_cut: bool) -> Check:
        """What is looked for is found no later than before.

        A sample that cannot tell a loss of the margin from none at all says nothing: then the check was not made,
        unless even the mean is worse.
        """
        name, found = CheckName.SEARCH_QUALITY, quality.pooled
        margin = self.policy.rule(name).threshold
        margins = {
            measure: margin if is_same_cut or not measure.startswith(KNOWN_ITEM) else max(margin, RECUT_MARGIN)
            for measure in found
        }
        worst = min(found, key=lambda measure: found[measure].low + margins[measure])
        below = {measure: margins[measure] for measure in found if found[measure].low < -margins[measure]}
        shown = f"{worst} {found[worst].mean:+.4f}, at the lower end {found[worst].low:+.4f}"
        summary = f"{shown}, over {quality.queries} queries"
        detail = {"measures": {measure: value.to_dict() for measure, value in {**found, **quality.by_mode}.items()}}
        if below and all(found[measure].cannot_tell(limit) for measure, limit in below.items()):
            return self.unmade(
                name, reason="too_few_queries", summary=f"too few queries to tell; {summary}", detail=detail
            )
        return self.made(
            name,
            value=found[worst].low,
            passed=not below,
            summary=summary,
            threshold=-margins[worst],
            detail=detail,
        )

    def latency(self, *, old_ms: Sequence[float], new_ms: Sequence[float]) -> Check:
        """Searches take no more than a multiple of what they took, or are fast anyway."""
        old, new = (float(np.percentile(times, PERCENTILE)) for times in (old_ms, new_ms))
        name = CheckName.LATENCY
        ratio = new / max(old, 1e-6)
        passed = ratio <= self.policy.rule(name).threshold or new <= LATENCY_FLOOR_MS
        floor = f" (below {LATENCY_FLOOR_MS:g} ms nothing is too slow)" if new <= LATENCY_FLOOR_MS else ""
        summary = f"p95 {new:.1f} ms, was {old:.1f} ms{floor}"
        detail = {"old_p95_ms": round(old, 3), "new_p95_ms": round(new, 3)}
        return self.made(name, value=ratio, passed=passed, summary=summary, detail=detail)
