"""How a search finds and orders its hits."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from app.domain.errors import InvalidInputError
from app.domain.points import Fusion, SearchMode

SHOWN = 40


BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "fusion_k": (1, 10_000),
        "dense_weight": (0, 100),
        "bm25_weight": (0, 100),
        "candidates": (1, 2000),
        "score_threshold": (-1e9, 1e9),
        "diversity": (0, 1),
        "rerank_depth": (1, 200),
    }
)
"""Least and most."""
WHOLE = frozenset({"fusion_k", "candidates", "rerank_depth"})


class InvalidSearchSettingsError(InvalidInputError):
    """Settings of a search that are unknown, have a value they cannot have, or contradict each other."""

    code = "invalid_search_settings"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the search settings cannot be used: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """What a search may choose beside its query; what is left as it is costs nothing.

    Attributes:
        fusion: of hybrid searches.
        fusion_k: the constant k of reciprocal rank fusion.
        dense_weight, bm25_weight: of each ranking in reciprocal rank fusion; only their ratio counts.
        candidates: how many chunks each ranking of a hybrid search brings to the fusion; None is what ``limit`` needs.
        score_threshold: hits with a lower score are left out; what a score is depends on the mode.
        diversity: 0 orders by relevance alone, 1 by difference from the hits before (maximal marginal relevance); None
            does not ask.
        rerank: whether a cross-encoder orders the first ``rerank_depth`` documents anew.
    """

    mode: SearchMode = SearchMode.HYBRID
    fusion: Fusion = Fusion.RRF
    fusion_k: int = 60
    dense_weight: float = 1.0
    bm25_weight: float = 1.0
    candidates: int | None = None
    score_threshold: float | None = None
    diversity: float | None = None
    rerank: bool = False
    rerank_depth: int = 50

    def to_config(self) -> dict[str, Any]:
        """As JSON has it: the mode, and what is not as usual."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        said = {
            name: str(value) if isinstance(value, StrEnum) else value
            for name, value in values.items()
            if value != getattr(USUAL, name)
        }
        return {"mode": str(self.mode), **said}

    def describe(self) -> str:
        """In a few words, as ``hybrid fusion_k=20 rerank``."""
        said = [
            name if value is True else f"{name}={value}" for name, value in self.to_config().items() if name != "mode"
        ]
        return " ".join([str(self.mode), *said])

    @classmethod
    def from_config(cls, config: object, *, is_checked: bool = True) -> "SearchSettings":
        """Settings as JSON has them; what is missing or null is as usual.

        ``is_checked`` says whether they have to go together, too.

        Raises:
            InvalidSearchSettingsError: with what has to be changed.
        """
        if not isinstance(config, Mapping):
            raise InvalidSearchSettingsError("they must be an object")
        known = [field.name for field in fields(cls)]
        unknown = next((str(name) for name in config if name not in known), None)
        if unknown is not None:
            raise InvalidSearchSettingsError(f"there are {', '.join(known)}, not {unknown[:SHOWN]!r}")
        values = {name: _read(name, value) for name, value in config.items() if value is not None}
        settings = cls(**values)
        if is_checked:
            settings.check()
        return settings

    def check(self) -> None:
        """Raises InvalidSearchSettingsError where two settings do not go together."""
        if self.dense_weight == self.bm25_weight == 0:
            raise InvalidSearchSettingsError("one of dense_weight and bm25_weight must be more than 0")
        is_weighted = (self.dense_weight, self.bm25_weight) != (1.0, 1.0)
        if self.fusion is Fusion.DBSF and (is_weighted or self.fusion_k != USUAL.fusion_k):
            raise InvalidSearchSettingsError("weights and fusion_k belong to fusion rrf")
        if self.mode is not SearchMode.HYBRID and (is_weighted or self.fusion is not Fusion.RRF):
            raise InvalidSearchSettingsError(f"mode {self.mode} has one ranking, so there is nothing to fuse")


def _read(name: str, value: Any) -> Any:  # noqa: ANN401 — JSON
    if name in ("mode", "fusion"):
        kinds: type[StrEnum] = SearchMode if name == "mode" else Fusion
        known = [kind.value for kind in kinds]
        if not isinstance(value, str) or value not in known:
            raise InvalidSearchSettingsError(f"{name} must be one of {', '.join(known)}")
        return kinds(value)
    if name == "rerank":
        if not isinstance(value, bool):
            raise InvalidSearchSettingsError("rerank must be true or false")
        return value
    least, most = BOUNDS[name]
    kind = "a whole number" if name in WHOLE else "a number"
    is_number = isinstance(value, int if name in WHOLE else (int, float)) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:
        raise InvalidSearchSettingsError(f"{name} must be {kind} from {least:g} to {most:g}")
    return value if name in WHOLE else float(value)


USUAL = SearchSettings()
