"""Measures of a ranking, by the names people know them by."""

import re
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from app.domain.errors import InvalidInputError

LARGEST_K = 10_000
SHOWN = 40


class InvalidMeasureError(InvalidInputError):
    """No measure has this name, or it needs a ``@k``, or has one it cannot have."""

    code = "invalid_measure"

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{text[:SHOWN]!r} is no measure: {reason}")


class MeasureKind(StrEnum):
    """What is measured."""

    PRECISION = "precision"
    RECALL = "recall"
    F1 = "f1"
    MRR = "mrr"
    MAP = "map"
    NDCG = "ndcg"
    NDCG_EXP = "ndcg_exp"
    SUCCESS = "success"
    JUDGED = "judged"


WITHOUT_K = frozenset({MeasureKind.MRR, MeasureKind.MAP, MeasureKind.NDCG, MeasureKind.NDCG_EXP})
"""Those that may be of the whole ranking."""
ALIASES = MappingProxyType(
    {
        **{kind.value: kind for kind in MeasureKind},
        "p": MeasureKind.PRECISION,
        "prec": MeasureKind.PRECISION,
        "r": MeasureKind.RECALL,
        "rr": MeasureKind.MRR,
        "recip_rank": MeasureKind.MRR,
        "ap": MeasureKind.MAP,
        "map_cut": MeasureKind.MAP,
        "ndcg_cut": MeasureKind.NDCG,
        "hit_rate": MeasureKind.SUCCESS,
    }
)
WRITTEN = re.compile(r"([a-z][a-z0-9_]*?)(?:[@_]([0-9]{1,9}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measure; ``k`` is how many ranks are looked at, None all of them."""

    kind: MeasureKind
    k: int | None = None

    @property
    def name(self) -> str:
        """As reports and conditions have it, as ``ndcg@10``."""
        return str(self.kind) if self.k is None else f"{self.kind}@{self.k}"


def parse_measure(text: str) -> Measure:
    """A measure of its name or of what trec_eval and ir-measures call it: ``ndcg@10``, ``nDCG@10``, ``P_5``, ``AP``.

    Raises:
        InvalidMeasureError: with what would be one.
    """
    found = WRITTEN.fullmatch(text.strip().lower())
    kind = ALIASES.get(found[1]) if found else None
    if found is None or kind is None:
        raise InvalidMeasureError(text, f"there are {', '.join(MeasureKind)}, with @k")
    if found[2] is None and kind not in WITHOUT_K:
        raise InvalidMeasureError(text, f"say how many ranks are looked at, as {kind}@10")
    k = None if found[2] is None else int(found[2])
    if k is not None and not 1 <= k <= LARGEST_K:
        raise InvalidMeasureError(text, f"k must be from 1 to {LARGEST_K}")
    return Measure(kind=kind, k=k)


PRIMARY = "ndcg@10"
DEFAULT_MEASURES = tuple(
    parse_measure(name)
    for name in (
        PRIMARY,
        "recall@10",
        "recall@100",
        "precision@10",
        "f1@10",
        "mrr",
        "map",
        "ndcg_exp@10",
        "success@1",
        "success@10",
        "judged@10",
    )
)
