"""Two rankings of one query side by side: where each item was, and where it is."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.domain.comparison import Change

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned(Generic[Item]):
    """An item with its ranks, from 1; None where a ranking does not have it."""

    item: Item
    old: int | None
    new: int | None

    @property
    def change(self) -> Change:
        """What has become of it."""
        if self.old is None:
            return Change.NEW
        if self.new is None:
            return Change.LOST
        if self.old == self.new:
            return Change.SAME
        return Change.UP if self.new < self.old else Change.DOWN


def align_rankings(old: Sequence[Item], new: Sequence[Item]) -> list[Aligned[Item]]:
    """All items of two rankings without repetitions: the new one's in its order, then what it has lost."""
    before = {item: rank for rank, item in enumerate(old, 1)}
    after = {item: rank for rank, item in enumerate(new, 1)}
    items = dict.fromkeys((*new, *old))
    return [Aligned(item=item, old=before.get(item), new=after.get(item)) for item in items]
