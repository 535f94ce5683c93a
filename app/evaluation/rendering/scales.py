"""Where numbers stand on an axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

TICKS = 4
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
WIDE = 20
"""Numbers that lie further apart than this many times stand on a logarithmic axis."""
LEAST = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """An axis from ``low`` to ``high``, with the numbers that are written beside it."""

    low: float
    high: float
    ticks: tuple[float, ...]
    is_logarithmic: bool = False

    def place(self, value: float) -> float:
        """The share of the axis below a number, from 0 to 1."""
        low, high = self.low, self.high
        if self.is_logarithmic:
            value, low, high = log10(max(value, LEAST)), log10(low), log10(high)
        return min(1.0, max(0.0, (value - low) / (high - low)))


def make_scale(values: Sequence[float]) -> Scale:
    """An axis on which all the numbers have room; there must be one at least."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(1.0, abs(high)):
        half = max(abs(high) * 0.1, 0.01)
        low, high = low - half, high + half
    step = _find_step((high - low) / TICKS)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return Scale(low=first * step, high=last * step, ticks=tuple(one * step for one in range(first, last + 1)))


def make_latency_scale(values: Sequence[float]) -> Scale:
    """Begins at nothing, or is logarithmic if the numbers are far apart."""
    low, high = max(min(values), LEAST), max(*values, LEAST)
    if high / low < WIDE:
        return make_scale([0.0, high])
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    ticks = [10.0**power * step for power in powers for step in (1, 2, 5)]
    first = max(index for index, tick in enumerate(ticks) if tick <= low * (1 + 1e-9))
    last = min(index for index, tick in enumerate(ticks) if tick >= high * (1 - 1e-9))
    return Scale(low=ticks[first], high=ticks[last], ticks=tuple(ticks[first : last + 1]), is_logarithmic=True)


def _find_step(roughly: float) -> float:
    """The next round number above."""
    power: float = 10.0 ** floor(log10(roughly))
    return next(power * step for step in STEPS if power * step >= roughly * (1 - 1e-9))
