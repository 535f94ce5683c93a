"""Numbers of a report as people read them; what is no number is shown as absent."""

from collections.abc import Sequence

ABSENT = "—"
LARGEST = 1e12
"""Nothing that is measured here comes near it."""
RAREST = 0.0001
DECIMALS = 4


def number(value: object) -> float | None:
    """A finite number of a sane size, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -LARGEST <= value <= LARGEST else None


def pair(values: object) -> tuple[float, float] | None:
    """Both ends of an interval, or None."""
    if not isinstance(values, Sequence) or len(values) != 2:
        return None
    low, high = number(values[0]), number(values[1])
    return None if low is None or high is None else (low, high)


def score(value: object) -> str:
    """A measure."""
    found = number(value)
    return ABSENT if found is None else f"{_no_minus_zero(found):.{DECIMALS}f}"


def difference(value: object) -> str:
    """By how much something is more or less, with its sign."""
    found = number(value)
    if found is None:
        return ABSENT
    rounded = _no_minus_zero(found)
    return f"{rounded:+.{DECIMALS}f}" if rounded else f"{rounded:.{DECIMALS}f}"


def interval(values: object) -> str:
    """Both ends, or nothing."""
    ends = pair(values)
    return "" if ends is None else f"{score(ends[0])} to {score(ends[1])}"


def chance(value: object) -> str:
    """A p value."""
    found = number(value)
    if found is None:
        return ABSENT
    return f"< {RAREST}" if found < RAREST else f"{found:.{DECIMALS}f}"


def share(value: object) -> str:
    """A part of one, in percent."""
    found = number(value)
    return ABSENT if found is None else f"{100 * found:.1f} %"


def milliseconds(value: object) -> str:
    """A duration; its unit stands in the head of the column."""
    found = number(value)
    return ABSENT if found is None else f"{found:.1f}"


def amount(value: object) -> str:
    """A count, or anything else that was measured."""
    found = number(value)
    if found is None:
        return ABSENT
    if found == int(found):
        return str(int(found))
    return f"{found:.1f}" if abs(found) >= 100 else f"{found:.3g}"


def _no_minus_zero(value: float) -> float:
    return round(value, DECIMALS) + 0.0
