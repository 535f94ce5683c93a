"""Equal texts of one operation are embedded once, also while they are on their way."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.domain.errors import DomainError
from app.domain.points import Vectors

Outcome = Vectors | DomainError | None
"""A vector; why the model refuses the text; or None if whoever was to embed it did not."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Which of some texts the caller has to embed, and which somebody else does or did."""

    mine: list[int]
    shared: dict[int, "asyncio.Future[Outcome]"]


class SharedVectors:
    """The texts one operation embeds now and embedded lately, each only once.

    Args:
        max_bytes: how much the finished vectors may take; the oldest go first.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._outcomes: OrderedDict[bytes, asyncio.Future[Outcome]] = OrderedDict()

    def claim(self, keys: Sequence[bytes]) -> Claims:
        """Divide texts; those that become the caller's must be given to ``settle``, whatever happens."""
        mine: list[int] = []
        shared: dict[int, asyncio.Future[Outcome]] = {}
        for index, key in enumerate(keys):
            if key in self._outcomes:
                shared[index] = self._outcomes[key]
            else:
                self._outcomes[key] = asyncio.get_running_loop().create_future()
                mine.append(index)
        return Claims(mine, shared)

    def settle(self, key: bytes, outcome: Outcome) -> None:
        """Tell everyone who waits for a text; None has them embed it themselves."""
        future = self._outcomes[key]
        if isinstance(outcome, np.ndarray):
            outcome = outcome.copy()  # a row alone, not the whole batch it is a view of
        future.set_result(outcome)
        if outcome is None:
            del self._outcomes[key]
            return
        self._bytes += _size(outcome)
        while self._bytes > self._max_bytes:
            oldest = next((key for key, future in self._outcomes.items() if future.done()), None)
            if oldest is None:
                return
            self._bytes -= _size(self._outcomes.pop(oldest).result())


def _size(outcome: Outcome) -> int:
    return 0 if outcome is None or isinstance(outcome, DomainError) else outcome.nbytes
