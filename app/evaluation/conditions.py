"""Conditions that a benchmark fails by, as ``ndcg@10 < baseline - 0.01``, and how sure it is that they hold.

A condition names what must not be. It is judged by the 95 % bootstrap interval of the mean, paired query by query where
it names the baseline, so that a dataset too small to tell is no reason to pass:

- it has *failed* if the mean is beyond the limit;
- it has *passed* if even the bad end of the interval is not: that is non-inferiority at a level of 2.5 %;
- between the two the dataset *cannot tell*, nor do fewer than ten queries; it is said how many it would take.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import InvalidInputError
from app.evaluation.bootstrap import Interval, mean_by_group, mean_interval
from app.evaluation.measures import Measure, parse_measure
from app.evaluation.significance import queries_needed

NUMBER = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
WRITTEN = re.compile(
    rf"\s*(?P<measure>[A-Za-z][\w@]*)\s*(?P<sign><=?|>=?)\s*"
    rf"(?:(?P<limit>{NUMBER})|baseline(?:\s*(?P<operator>[-+*])\s*(?P<amount>{NUMBER}))?)\s*"
)
SHOWN = 80
FEWEST = 10
"""Queries of which an interval says something."""
ROUNDING = 1e-12
"""Means of equal values differ by as much, summed in another order."""


class InvalidConditionError(InvalidInputError):
    """A condition that cannot be read."""

    code = "invalid_condition"

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text[:SHOWN]!r} is no condition; write a measure, < or >, and a number or the baseline, as"
            " `ndcg@10 < baseline - 0.01`, `map < baseline * 0.98` or `recall@100 < 0.7`"
        )


class Outcome(StrEnum):
    """What became of a condition."""

    PASSED = "passed"
    FAILED = "failed"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What must not be: a mean below, or above, ``factor`` * baseline + ``offset``, or just the offset.

    Attributes:
        is_below: whether being below is what fails.
        is_strict: whether being just at the limit is no failure.
    """

    text: str
    measure: Measure
    is_below: bool
    is_relative: bool
    is_strict: bool = True
    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a condition was judged.

    Attributes:
        value: the mean.
        threshold: the limit, in the measure's own unit.
        interval: by how much the mean is on the right side of the limit, with its 95 % interval.
        queries_needed: how many judged queries would probably tell, where these cannot.
    """

    outcome: Outcome
    value: float
    threshold: float
    interval: Interval
    queries: int
    queries_needed: int | None
    words: str

    def to_dict(self) -> dict[str, Any]:
        """As reports have it."""
        return {
            "outcome": self.outcome.value,
            "value": round(self.value, 5),
            "threshold": round(self.threshold, 5),
            "interval": [round(self.interval.low, 5), round(self.interval.high, 5)],
            "queries": self.queries,
            "queries_needed": self.queries_needed,
            "words": self.words,
        }


def parse_condition(text: str) -> Condition:
    """A condition as people write it.

    Raises:
        InvalidConditionError: if it is none.
        InvalidMeasureError: if it names no measure.
    """
    found = WRITTEN.fullmatch(text)
    if found is None:
        raise InvalidConditionError(text)
    factor, offset = 1.0, 0.0
    if found["limit"] is not None:
        factor, offset = 0.0, float(found["limit"])
    elif found["operator"] == "*":
        factor = float(found["amount"])
    elif found["operator"] is not None:
        offset = float(f"{found['operator']}{found['amount']}")
    return Condition(
        text=" ".join(text.split()),
        measure=parse_measure(found["measure"]),
        is_below=found["sign"].startswith("<"),
        is_relative=found["limit"] is None,
        is_strict=not found["sign"].endswith("="),
        factor=factor,
        offset=offset,
    )


def judge_condition(
    condition: Condition,
    values: NDArray[np.float64],
    baseline: NDArray[np.float64] | None,
    *,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> Verdict:
    """Judge a condition by values of the same queries, of the run and of the baseline.

    Queries of one of the ``groups`` are not independent: it is groups that have to be enough.

    Raises:
        ValueError: if there are none, or not as many of both, or the condition needs a baseline and has none.
    """
    if condition.is_relative and baseline is None:
        raise ValueError("the condition names the baseline")
    before = np.zeros(len(values)) if baseline is None else baseline
    # above 0 is good, whichever side fails
    margins = values - condition.factor * before - condition.offset
    if not condition.is_below:
        margins = -margins
    interval = mean_interval(margins, seed=seed, groups=groups)
    threshold = float(condition.factor * before.mean() + condition.offset)
    numbers = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    independent = mean_by_group(margins, numbers)
    outcome = _decide(interval, len(independent), is_strict=condition.is_strict)
    needed = None
    if outcome is Outcome.CANNOT_TELL:
        spread = queries_needed(independent, interval.mean)
        if spread is not None or len(independent) < FEWEST:
            needed = ceil(max(FEWEST, spread or 0) * len(values) / len(independent))
    return Verdict(
        outcome=outcome,
        value=float(values.mean()),
        threshold=threshold,
        interval=interval,
        queries=len(values),
        queries_needed=needed,
        words=_word(condition, outcome, interval, float(values.mean()), threshold, queries=len(values), needed=needed),
    )


def _decide(interval: Interval, queries: int, *, is_strict: bool) -> Outcome:
    if interval.mean < -ROUNDING or (not is_strict and interval.mean <= ROUNDING):
        return Outcome.FAILED
    return Outcome.PASSED if interval.low >= -ROUNDING and queries >= FEWEST else Outcome.CANNOT_TELL


def _word(
    condition: Condition,
    outcome: Outcome,
    margin: Interval,
    value: float,
    threshold: float,
    *,
    queries: int,
    needed: int | None,
) -> str:
    figures = (
        f"{condition.measure.name} {value:.4f}, the limit is {threshold:.4f}; on its right side by {margin.mean:+.4f}"
        f" (95 % {margin.low:+.4f} to {margin.high:+.4f}) over {queries} queries"
    )
    if outcome is Outcome.FAILED:
        return f"{condition.text}: {figures}"
    if outcome is Outcome.PASSED:
        return f"not {condition.text}: {figures}"
    more = "the mean is at the limit itself, or next to it"
    if needed is not None:
        more = f"it would take about {needed} judged queries, {max(needed - queries, 0)} more"
    return f"cannot tell whether {condition.text}: {figures}; {more}"
