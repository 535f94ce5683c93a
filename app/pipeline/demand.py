"""How many documents a lane takes in hand while others could take them: what its model needs soon, and no more."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

ROUNDS = 4
"""How often all requests that may be open can be filled with the texts in hand: one round is with the model, and the
others are there before it has answered, also where a group takes long to prepare."""


class Demand:
    """The groups and texts one worker has in hand of an operation.

    Args:
        groups: so many may wait for being prepared, or be prepared.
        texts: so many may wait for the model, or be with it, or be on their way into the stores.

    Attributes:
        is_shared: whether other workers may take what this one leaves; alone, it takes as much as memory allows.
    """

    def __init__(self, *, groups: int, texts: int, is_shared: bool) -> None:
        self.is_shared = is_shared
        self._most_groups = groups
        self._most_texts = texts
        self._groups = 0
        self._texts = 0
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Return when more documents are needed."""
        while self.is_shared and (self._groups >= self._most_groups or self._texts >= self._most_texts):
            self._changed.clear()
            await self._changed.wait()

    def take(self) -> None:
        """A group was claimed."""
        self._groups += 1

    def drop(self) -> None:
        """A group was prepared, or given back."""
        self._groups -= 1
        self._changed.set()

    @contextmanager
    def holding(self, texts: int) -> Iterator[None]:
        """Count the texts of a prepared group as long as the block runs."""
        self._texts += texts
        try:
            yield
        finally:
            self._texts -= texts
            self._changed.set()
