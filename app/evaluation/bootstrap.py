"""How sure a mean is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLES = 2000
LEVEL = 0.95
NUMBERS_PER_BLOCK = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean, and the interval that holds it at a level of confidence."""

    mean: float
    low: float
    high: float

    def cannot_tell(self, margin: float) -> bool:
        """Whether it is so wide that it holds both a loss of ``margin`` and none, and its mean is no such loss."""
        return self.mean >= -margin and self.mean - self.low > margin

    def to_dict(self) -> dict[str, float]:
        """As it is stored and shown."""
        return {"mean": round(self.mean, 5), "low": round(self.low, 5), "high": round(self.high, 5)}


def mean_interval(
    values: NDArray[np.float64],
    *,
    seed: int,
    groups: NDArray[np.int64] | None = None,
    samples: int = SAMPLES,
    level: float = LEVEL,
) -> Interval:
    """The percentile bootstrap of a mean, as of paired differences; the same seed gives the same interval.

    Raises:
        ValueError: if there are no values.
    """
    return mean_intervals(values[:, None], seed=seed, groups=groups, samples=samples, level=level)[0]


def mean_intervals(
    columns: NDArray[np.float64],
    *,
    seed: int,
    groups: NDArray[np.int64] | None = None,
    samples: int = SAMPLES,
    level: float = LEVEL,
) -> list[Interval]:
    """One of each column of values, shape ``(n, columns)``; all of them from the same samples of rows.

    Rows of one of the ``groups`` are not independent: they are drawn together.

    Raises:
        ValueError: if there are no rows.
    """
    if len(columns) == 0:
        raise ValueError("no values")
    sums, sizes = sum_by_group(columns, groups)
    count = len(sums)
    random = np.random.default_rng(seed)
    block = max(1, NUMBERS_PER_BLOCK // count)
    drawn = (
        _count_drawn(random.integers(count, size=(min(block, samples - start), count)))
        for start in range(0, samples, block)
    )
    means = np.concatenate([weights @ sums / (weights @ sizes)[:, None] for weights in drawn])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [
        Interval(mean=float(mean), low=float(least), high=float(most))
        for mean, least, most in zip(columns.mean(axis=0), low, high, strict=True)
    ]


def _count_drawn(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often each of ``n`` was drawn in each sample, shape ``(samples, n)``."""
    samples, count = drawn.shape
    places = drawn + count * np.arange(samples)[:, None]
    return np.bincount(places.ravel(), minlength=samples * count).reshape(samples, count).astype(np.float64)


def sum_by_group(
    columns: NDArray[np.float64], groups: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of the rows of each group, shape ``(groups, columns)``, and how many rows each has."""
    if groups is None:
        return columns, np.ones(len(columns))
    _, numbers = np.unique(groups, return_inverse=True)
    sizes = np.bincount(numbers).astype(np.float64)
    sums = np.zeros((len(sizes), columns.shape[1]))
    np.add.at(sums, numbers, columns)
    return sums, sizes


def mean_by_group(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean of each group's values: queries made from one document are not independent."""
    counts = np.bincount(groups)
    sums = np.bincount(groups, weights=values)
    means: NDArray[np.float64] = sums[counts > 0] / counts[counts > 0]
    return means
