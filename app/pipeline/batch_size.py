"""How large a request may be: as the settings say, and as its refusals teach."""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Split:
    """A request that was refused as too large, sent again in two halves. ``cost`` is in tokens, with padding."""

    texts: int
    cost: int
    accepted: int = 0


class BatchSize:
    """Bounds of a request to one model server.

    A refused request lowers the bound at once, and for good when both of its halves are accepted. Where one of them is
    refused too, it may have been the fault of a single text, which teaches nothing about the others.

    Attributes:
        max_tokens: tokens of a request, with padding.
    """

    def __init__(self, *, max_texts: int, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._max_texts = max_texts
        self._most_accepted = 0
        self._suspected: set[Split] = set()

    @property
    def max_texts(self) -> int:
        """Texts of a request."""
        return min([self._max_texts, *((split.texts + 1) // 2 for split in self._suspected)])

    def suspect(self, texts: int, cost: int) -> Split:
        """A request was refused as too large."""
        split = Split(texts, cost)
        self._suspected.add(split)
        return split

    def accept(self, texts: int, split: Split | None) -> None:
        """A request was answered, perhaps one half of a split."""
        self._most_accepted = max(self._most_accepted, texts)
        if split is None or split not in self._suspected:
            return
        split.accepted += 1
        if split.accepted < 2:
            return
        self._suspected.discard(split)
        if self._most_accepted >= split.texts:
            # as many texts have passed before, so it was too many tokens
            self.max_tokens = min(self.max_tokens, max(1, split.cost // 2))
        else:
            self._max_texts = min(self._max_texts, (split.texts + 1) // 2)

    def forget(self, split: Split | None) -> None:
        """A half was refused for itself, or is not wanted any more."""
        if split is not None:
            self._suspected.discard(split)
