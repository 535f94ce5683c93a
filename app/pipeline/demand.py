"""How many documents a lane takes in hand while others could take them: what its model needs soon, and no more."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

FIRST_DOCUMENTS = 8
"""So few that the model gets its first texts soon, and that all workers can prepare theirs at once."""
LEAST_DOCUMENTS = 2
GROUPS_ALONE = 5
"""So many groups may be with the model or on their way into the stores while no other worker shares them: who comes
later is to find something left."""
ROUNDS = 4
"""How often all requests that may be open can be filled with the texts in hand: one round is with the model, and the
others are there before it has answered, also where a group takes long to prepare."""


class Held:
    """The texts of one group that are in hand until the model has answered, or until nobody needs its answer."""

    def __init__(self, demand: "Demand", texts: int) -> None:
        self._demand = demand
        self._left = texts

    def drop(self, texts: int = 1) -> None:
        """So many are not waited for any more."""
        texts = min(texts, self._left)
        self._left -= texts
        self._demand.drop_texts(texts)

    def drop_all(self) -> None:
        """None is: the model is done with the group."""
        self.drop(self._left)


class Demand:
    """The groups and texts one worker has in hand of an operation.

    Args:
        groups: so many may wait for being prepared, or be prepared.
        texts: so many may wait for the model, or be with it; a claim is to have a ``ROUNDS``-th of them.

    Attributes:
        is_shared: whether other workers may take what this one leaves; alone, it takes as many texts as there are.
    """

    def __init__(self, *, groups: int, texts: int, is_shared: bool) -> None:
        self.is_shared = is_shared
        self._most_groups = groups
        self._most_texts = texts
        self._groups = 0
        self._written = 0
        self._texts = 0
        self._seen_documents = 0
        self._seen_texts = 0
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Return when more documents are needed."""
        while self._has_enough():
            self._changed.clear()
            await self._changed.wait()

    def _has_enough(self) -> bool:
        if not self.is_shared:
            return self._groups + self._written >= self._most_groups + GROUPS_ALONE
        return self._groups >= self._most_groups or self._texts >= self._most_texts

    def choose_claim(self, most: int) -> tuple[int, int]:
        """How many documents to claim at once, and how few where little is left.

        About one round of requests, and half of one, judged by the documents that were prepared; ``most`` for a worker
        that is alone.
        """
        if not self.is_shared:
            return most, LEAST_DOCUMENTS
        texts = self._most_texts // ROUNDS
        round_ = texts * self._seen_documents // self._seen_texts if self._seen_texts else FIRST_DOCUMENTS
        limit = max(LEAST_DOCUMENTS, min(most, round_))
        return limit, max(LEAST_DOCUMENTS, limit // 2)

    def take(self) -> None:
        """A group was claimed."""
        self._groups += 1

    def drop(self) -> None:
        """A group was prepared, or given back."""
        self._groups -= 1
        self._changed.set()

    @contextmanager
    def holding(self, texts: int, *, documents: int) -> Iterator[Held]:
        """Count the texts of a prepared group, at most as long as the block runs."""
        self._seen_documents += documents
        self._seen_texts += texts
        self._texts += texts
        self._written += 1
        held = Held(self, texts)
        try:
            yield held
        finally:
            self._written -= 1
            held.drop_all()

    def drop_texts(self, texts: int) -> None:
        """So many are not in hand any more; see ``Held``."""
        self._texts -= texts
        self._changed.set()
