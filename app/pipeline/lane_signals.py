"""What the workers that share an operation tell each other at once, where they would else look for it."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from app.domain.operations import LaneChange


class LaneSignals:
    """One worker's ends of the signals; any of them may be lost, so whoever waits looks from time to time.

    Args:
        tell: publishes a change to all workers, this one too.

    Attributes:
        on_offers: called with operations that may be shared from now on.
    """

    def __init__(self, tell: Callable[[UUID, LaneChange], Awaitable[None]]) -> None:
        self.tell = tell
        self.on_offers: Callable[[Sequence[UUID]], None] = lambda _: None
        self._listeners: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)

    def take(self, operation_id: UUID, change: LaneChange) -> None:
        """A worker has published this."""
        if change is LaneChange.OFFERED:
            self.on_offers([operation_id])
            return
        for event in self._listeners.get(operation_id, ()):
            event.set()

    @contextmanager
    def hearing(self, operation_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set whenever a lane of the operation has ended, as long as the block runs."""
        event = asyncio.Event()
        self._listeners[operation_id].add(event)
        try:
            yield event
        finally:
            self._listeners[operation_id].discard(event)
            if not self._listeners[operation_id]:
                del self._listeners[operation_id]
