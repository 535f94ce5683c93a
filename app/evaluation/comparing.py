"""Two runs over the same queries: by how much one is better, and whether that may be chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.evaluation.bootstrap import mean_by_group, mean_intervals, sum_by_group
from app.evaluation.judged_runs import JudgedQuery
from app.evaluation.metrics import Scores
from app.evaluation.significance import LEVEL, SAMPLES, holm, sign_flip_p_values, smallest_difference

SHOWN = 10
QUERY_CHARACTERS = 300
SAMPLES_PER_TEST = 100
"""So that the smallest p there is stays significant, however many tests it is corrected for."""
SAME = 1e-12
"""Values that differ by less are equal but for the order of summing."""

Pair = tuple[str, Scores, str, Scores]
"""The name of a run and its values, and those of another run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run and another one; ``p_corrected`` is corrected for ``tests``."""

    run: str
    other: str
    values: Scores
    others: Scores
    low: float
    high: float
    p: float
    p_corrected: float
    tests: int
    groups: NDArray[np.int64] | None = None

    @property
    def differences(self) -> Scores:
        """By how much the run is better, query by query."""
        return self.values - self.others

    @property
    def significant(self) -> bool:
        """Whether chance alone would hardly do that."""
        return self.p_corrected <= LEVEL

    def _independent(self) -> Scores:
        """Differences of which none says anything about another one."""
        differences = self.differences
        return (
            differences
            if self.groups is None
            else mean_by_group(differences, np.unique(self.groups, return_inverse=True)[1])
        )

    def to_dict(self, queries: Sequence[JudgedQuery]) -> dict[str, Any]:
        """As reports have it, with the queries that were won and lost most."""
        differences = self.differences
        order = np.argsort(differences, kind="stable")
        won = [int(number) for number in order[::-1] if differences[number] > SAME]
        lost = [int(number) for number in order if differences[number] < -SAME]
        return {
            "run": self.run,
            "other": self.other,
            "difference": round(float(differences.mean()), 10),
            "ci95": [round(self.low, 5), round(self.high, 5)],
            "p": round(self.p, 6),
            "p_corrected": round(self.p_corrected, 6),
            "significant": self.significant,
            "wins": len(won),
            "losses": len(lost),
            "ties": len(differences) - len(won) - len(lost),
            "smallest_difference": _round(smallest_difference(self._independent(), level=LEVEL / self.tests)),
            "won": [self._describe(number, queries) for number in won[:SHOWN]],
            "lost": [self._describe(number, queries) for number in lost[:SHOWN]],
            "differences": [round(float(value), 5) for value in differences[order]],
        }

    def _describe(self, number: int, queries: Sequence[JudgedQuery]) -> dict[str, Any]:
        query = queries[number]
        return {
            "query_id": query.query_id,
            "query": query.text[:QUERY_CHARACTERS],
            "value": round(float(self.values[number]), 5),
            "other": round(float(self.others[number]), 5),
            "difference": round(float(self.values[number] - self.others[number]), 5),
        }


def compare_pairs(
    pairs: Sequence[Pair], *, tests: int, seed: int, groups: NDArray[np.int64] | None = None
) -> list[Comparison]:
    """Compare each pair; ``tests`` is how many could have been made, among which these were chosen.

    Queries of one of the ``groups`` are not independent: their signs are turned together.
    """
    if not pairs:
        return []
    differences = np.stack([values - others for _, values, _, others in pairs], axis=1)
    sums, _ = sum_by_group(differences, groups)
    p_values = sign_flip_p_values(sums, seed=seed, samples=max(SAMPLES, SAMPLES_PER_TEST * tests))
    corrected = holm(p_values, tests=tests)
    intervals = mean_intervals(differences, seed=seed, groups=groups)
    return [
        Comparison(
            run=run,
            other=other,
            values=values,
            others=others,
            low=interval.low,
            high=interval.high,
            p=p,
            p_corrected=p_corrected,
            tests=tests,
            groups=groups,
        )
        for (run, values, other, others), interval, p, p_corrected in zip(
            pairs, intervals, p_values, corrected, strict=True
        )
    ]


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
