"""Whether runs differ by more than chance, and what difference a dataset can show at all."""

from collections.abc import Sequence
from math import ceil, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from app.evaluation.metrics import Scores

LEVEL = 0.05
POWER = 0.8
SAMPLES = 10_000
NUMBERS_PER_BLOCK = 1_000_000
WORD = 64
NO_MARGIN = 1e-6
MOST_QUERIES = 1_000_000
"""Nobody judges more."""
ROUNDING = 1e-12
"""Sums of the same numbers in another order differ by this share of them at most."""


def sign_flip_p_values(differences: Scores, *, seed: int, samples: int = SAMPLES) -> list[float]:
    """How probable it is that chance alone gives means as far from 0, two-sided: a paired randomisation test.

    If two runs are equal, each query might as well have had its difference the other way round. So signs are drawn
    anew; p is (c + 1) / (samples + 1), where c samples have a mean that is as far from 0 or farther.

    Args:
        differences: shape ``(queries, pairs of runs)``; the same signs serve all pairs.
        seed: the same gives the same.
        samples: how often signs are drawn; no p is smaller than 1 / (samples + 1).
    """
    queries, pairs = differences.shape
    if queries == 0:
        return [1.0] * pairs
    random = np.random.default_rng(seed)
    # whole words of random bits, so that signs do not depend on how many are drawn at once
    block = WORD * max(1, NUMBERS_PER_BLOCK // max(queries, pairs) // WORD)
    reached = np.abs(differences.sum(axis=0)) - ROUNDING * np.abs(differences).sum(axis=0)
    count = np.zeros(pairs, dtype=np.int64)
    for start in range(0, samples, block):
        signs = _draw_signs(random, (min(block, samples - start), queries))
        count += (np.abs(signs @ differences) >= reached).sum(axis=0)
    return [(int(each) + 1) / (samples + 1) for each in count]


def _draw_signs(random: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """1 or -1, each as probable."""
    bits = np.unpackbits(np.frombuffer(random.bytes(-(-shape[0] * shape[1] // 8)), dtype=np.uint8))
    signs: NDArray[np.float64] = bits[: shape[0] * shape[1]].reshape(shape) * np.float64(2) - 1
    return signs


def holm(p_values: Sequence[float], *, tests: int | None = None) -> list[float]:
    """Probabilities corrected for many tests, in the same order: the chance of one false alarm among all of them.

    Args:
        p_values: of single tests.
        tests: how many there were, if not all are given; the others count as if they were larger.
    """
    total = len(p_values) if tests is None else tests
    corrected, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (total - place) * p_values[index]))
        corrected[index] = largest
    return corrected


def smallest_difference(differences: Scores, *, power: float = POWER, level: float = LEVEL) -> float | None:
    """The smallest true mean that queries as these would have shown, with so much power at such a level, two-sided.

    None where nothing is known about how differences spread: of fewer than two queries, or where all are the same.
    """
    spread = _spread(differences)
    if spread == 0:
        return None
    return _width(power=power, level=level) * spread / sqrt(len(differences))


def queries_needed(differences: Scores, margin: float, *, power: float = POWER, level: float = LEVEL) -> int | None:
    """How many queries as these it takes to tell a mean ``margin`` away from 0, with so much power at such a level.

    None where nothing is known about how differences spread, where there is no margin but for rounding, or where
    ``MOST_QUERIES`` would not be enough.
    """
    spread = _spread(differences)
    if spread == 0 or margin <= NO_MARGIN:
        return None
    needed = ceil((_width(power=power, level=level) * spread / margin) ** 2)
    return max(2, needed) if needed <= MOST_QUERIES else None


def _spread(differences: Scores) -> float:
    """The standard deviation; 0 where there is none, but for rounding."""
    if len(differences) < 2:
        return 0.0
    spread = float(differences.std(ddof=1))
    return spread if spread > ROUNDING * float(np.abs(differences).max()) else 0.0


def _width(*, power: float, level: float) -> float:
    """In standard errors."""
    normal = NormalDist()
    return normal.inv_cdf(1 - level / 2) + normal.inv_cdf(power)
