"""Judges the partitions of the chunks by what Postgres says of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

WARNING_SKEW = 0.3
UNBALANCED_SKEW = 0.5
LEAST_ROWS = 100_000
"""Of all partitions together: below, no skew is worth a word."""

LEAST_DEAD = 10_000
MOST_DEAD_SHARE = 0.2
LEAST_CHANGED = 10_000
MOST_CHANGED_SHARE = 0.2


class PartitionStatus(StrEnum):
    """How even a partition is."""

    HEALTHY = "healthy"
    WARNING = "warning"
    UNBALANCED = "unbalanced"


class PartitionAction(StrEnum):
    """What helps a partition."""

    ANALYZE = "analyze"
    VACUUM = "vacuum"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFigures:
    """What Postgres says of a partition. Rows are its estimates; ``changed`` counts since its last ANALYZE."""

    name: str
    rows: int
    dead_rows: int
    changed_rows: int
    bytes: int
    last_vacuum_at: datetime | None
    last_analyze_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionHealth:
    """A partition, judged.

    Attributes:
        share: of all rows.
        skew: how much of the larger one of partition and average the other one lacks: 0 where they are equal.
        needs: what would help it; None if nothing would.
        action: what was done about it.
    """

    figures: PartitionFigures
    share: float
    skew: float
    status: PartitionStatus
    needs: PartitionAction | None = None
    action: PartitionAction | None = None

    def done(self, action: PartitionAction) -> "PartitionHealth":
        """The same after something was done about it."""
        return replace(self, needs=None, action=action)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLook:
    """All partitions at some time: ``skew`` is the largest of those that were not healthy, else 0."""

    taken_at: datetime
    rows: int
    dead_rows: int
    skew: float
    helped: int
    warning: int
    unbalanced: int


def judge_partitions(figures: Sequence[PartitionFigures]) -> list[PartitionHealth]:
    """All partitions, judged by their share of all rows. Small ones are healthy: a partition can only be too large."""
    total = sum(partition.rows for partition in figures)
    mean = total / len(figures) if figures else 0.0
    return [_judge(partition, total, mean) for partition in figures]


def _judge(partition: PartitionFigures, total: int, mean: float) -> PartitionHealth:
    larger = max(partition.rows, mean)
    skew = abs(partition.rows - mean) / larger if larger else 0.0
    is_too_large = total >= LEAST_ROWS and partition.rows > mean
    return PartitionHealth(
        figures=partition,
        share=partition.rows / total if total else 0.0,
        skew=skew,
        status=_status(skew) if is_too_large else PartitionStatus.HEALTHY,
        needs=_find_need(partition),
    )


def _status(skew: float) -> PartitionStatus:
    if skew >= UNBALANCED_SKEW:
        return PartitionStatus.UNBALANCED
    return PartitionStatus.WARNING if skew >= WARNING_SKEW else PartitionStatus.HEALTHY


def _find_need(partition: PartitionFigures) -> PartitionAction | None:
    """A VACUUM for many dead rows; an ANALYZE where the planner knows little of what is there now."""
    if partition.dead_rows >= LEAST_DEAD and partition.dead_rows > MOST_DEAD_SHARE * partition.rows:
        return PartitionAction.VACUUM
    if partition.changed_rows >= LEAST_CHANGED and partition.changed_rows > MOST_CHANGED_SHARE * partition.rows:
        return PartitionAction.ANALYZE
    return None
