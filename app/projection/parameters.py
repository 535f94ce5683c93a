"""What can be said about a layout, and what is taken where nothing is said."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from app.projection.errors import InvalidProjectionError
from app.projection.layout import Method

SAMPLE_MIN, SAMPLE_MAX = 10, 500_000
SEED_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A parameter that is a number within bounds, both included; without a default it depends on the data."""

    default: float | None
    lowest: float
    highest: float
    whole: bool

    def check(self, name: str, value: object) -> float:
        """The value, or an error that says what to change."""
        kind = "a whole number" if self.whole else "a number"
        is_number = isinstance(value, int) or (isinstance(value, float) and isfinite(value))
        if isinstance(value, bool) or not isinstance(value, int | float) or not is_number:
            raise InvalidProjectionError(f"{name} has to be {kind}")
        if self.whole and value != int(value):
            raise InvalidProjectionError(f"{name} has to be {kind}")
        if not self.lowest <= value <= self.highest:
            raise InvalidProjectionError(f"{name} has to be between {self.lowest:g} and {self.highest:g}")
        return int(value) if self.whole else float(value)


def _check_metric(name: str, value: object) -> str:
    if value != "cosine":
        raise InvalidProjectionError(f"{name} can only be 'cosine'")
    return "cosine"


SEED = Number(default=42, lowest=0, highest=SEED_MAX, whole=True)
PARAMETERS: Mapping[Method, Mapping[str, Number]] = {
    Method.UMAP: {
        "n_neighbors": Number(default=15, lowest=2, highest=200, whole=True),
        "min_dist": Number(default=0.1, lowest=0, highest=1, whole=False),
        "epochs": Number(default=None, lowest=10, highest=2000, whole=True),
        "seed": SEED,
    },
    Method.TSNE: {
        "perplexity": Number(default=30, lowest=1, highest=100, whole=False),
        "iterations": Number(default=1000, lowest=250, highest=10_000, whole=True),
        "seed": SEED,
    },
    Method.PCA: {"seed": SEED},
}
OTHERS: Mapping[Method, Mapping[str, tuple[str, Callable[[str, object], str]]]] = {
    Method.UMAP: {"metric": ("cosine", _check_metric)},
    Method.TSNE: {"metric": ("cosine", _check_metric)},
    Method.PCA: {},
}
"""Parameters that are no numbers: what is taken, and what checks them."""


def check_parameters(method: Method, dimensions: int, given: Mapping[str, Any], sample: int) -> Mapping[str, Any]:
    """All parameters of a method: those given, and what is taken for the others.

    Raises:
        InvalidProjectionError: with what to change.
    """
    if dimensions not in {2, 3}:
        raise InvalidProjectionError("dimensions has to be 2 or 3")
    Number(default=0, lowest=SAMPLE_MIN, highest=SAMPLE_MAX, whole=True).check("sample", sample)
    numbers, others = PARAMETERS[method], OTHERS[method]
    if unknown := sorted(set(given) - set(numbers) - set(others)):
        raise InvalidProjectionError(
            f"{method} has no parameter {unknown[0][:100]!r}; it has {', '.join(sorted([*numbers, *others]))}"
        )
    checked: dict[str, Any] = {
        name: number.default if given.get(name) is None else number.check(name, given[name])
        for name, number in numbers.items()
    }
    checked |= {name: check(name, given.get(name, default)) for name, (default, check) in others.items()}
    return checked
