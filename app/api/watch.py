"""What a watcher sees: the missed events of an operation, then its live ones, then its end, each once.

The stream in Redis says what happened, the operation's row says whether it is over. A watcher that Redis tells
nothing learns the end from the row.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.domain.errors import ProgressUnavailableError, TooManyWatchersError
from app.domain.operations import Operation
from app.operations.dispatch import final_event
from app.progress.events import (
    FIRST_ID,
    ProgressEvent,
    encode_envelope,
    id_key,
    operation_channel,
    parse_entry,
    user_channel,
)
from app.progress.hub import Gap, ProgressHub, Subscription

POLL_SECONDS = 5.0
GRACE_SECONDS = 1.0

FindOperation = Callable[[], Awaitable[Operation]]


class WatcherSlots:
    """Counts open watchers, so that neither one user nor all together can exhaust a process."""

    def __init__(self, *, per_user: int, per_process: int) -> None:
        self._per_user = per_user
        self._per_process = per_process
        self._open: Counter[UUID] = Counter()

    @property
    def taken(self) -> int:
        """How many watchers are open."""
        return self._open.total()

    def take(self, user_id: UUID) -> None:
        """Count a watcher until ``release``; raises TooManyWatchersError."""
        if self._open[user_id] >= self._per_user or self._open.total() >= self._per_process:
            raise TooManyWatchersError("too many open watchers; close some and try again")
        self._open[user_id] += 1

    def release(self, user_id: UUID) -> None:
        """Count a watcher no more."""
        self._open[user_id] -= 1
        if self._open[user_id] <= 0:
            del self._open[user_id]

    @contextmanager
    def hold(self, user_id: UUID) -> Iterator[None]:
        """Take a slot for the time of the block."""
        self.take(user_id)
        try:
            yield
        finally:
            self.release(user_id)


class OperationWatch:
    """Watches one operation for one watcher.

    Args:
        hub: the live events, and the stream to replay.
        find_operation: reads the operation's row; never called while an event is handed out.
        after: id of the last event the watcher has; None for all that are kept.
        poll_seconds: after how much silence the row is read.
    """

    def __init__(
        self,
        hub: ProgressHub,
        operation_id: UUID,
        find_operation: FindOperation,
        *,
        after: str | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._hub = hub
        self._operation_id = operation_id
        self._find_operation = find_operation
        self._poll_seconds = poll_seconds
        self._last = after or FIRST_ID
        self._last_key = id_key(self._last)

    async def stream(self) -> AsyncIterator[ProgressEvent | None]:
        """Events up to the final one; None after every ``poll_seconds`` of silence.

        Raises:
            WatcherTooSlowError: if events were not taken fast enough.
        """
        async with self._hub.subscribe(operation_channel(self._operation_id)) as subscription:
            behind = True
            while True:
                if behind:
                    missed, behind = await self._read_missed()
                    operation = await self._find_operation()
                    for event in self._pick(missed, operation):
                        yield event
                        if event.is_final:
                            return
                    if operation.state.is_final:
                        break
                item = await subscription.receive(timeout_seconds=self._poll_seconds)
                if item is None:
                    yield None
                    behind = behind or (await self._find_operation()).state.is_final
                elif item is Gap.GAP:
                    behind = True
                elif self._is_new(item):
                    yield item
                    if item.is_final:
                        return
            async for event in self._end(operation, subscription):
                yield event

    async def _read_missed(self) -> tuple[list[ProgressEvent], bool]:
        """Events after the last one, and whether they could not be read."""
        try:
            return await self._hub.replay(self._operation_id, self._last), False
        except ProgressUnavailableError:
            return [], True

    def _pick(self, missed: list[ProgressEvent], operation: Operation) -> Iterator[ProgressEvent]:
        """New events in order. Only the last final one is the end, and only if the row agrees.

        A retried operation may have older finals in its stream if Redis was away when it was to be dropped.
        """
        finals = [event.id for event in missed if event.is_final]
        end = finals[-1] if finals and operation.state.is_final else None
        for event in missed:
            if (not event.is_final or event.id == end) and self._is_new(event):
                yield event

    def _is_new(self, event: ProgressEvent) -> bool:
        """Whether the watcher has not got it yet; if so it counts as handed out."""
        key = id_key(event.id)
        if key <= self._last_key:
            return False
        self._last, self._last_key = event.id, key
        return True

    async def _end(self, operation: Operation, subscription: Subscription) -> AsyncIterator[ProgressEvent]:
        """The end of an operation whose row is final while its stream's new part has no final event.

        The event may be on its way, it may have been seen before, or it is gone; then it is made from the row.
        """
        deadline = time.monotonic() + (GRACE_SECONDS if ended_just_now(operation) else 0.0)
        while (left := deadline - time.monotonic()) > 0:
            item = await subscription.receive(timeout_seconds=left)
            if isinstance(item, ProgressEvent) and self._is_new(item):
                yield item
                if item.is_final:
                    return
        if not await self._has_seen_end():
            yield synthesise_end(operation, event_id=self._last)

    async def _has_seen_end(self) -> bool:
        if self._last == FIRST_ID:
            return False
        try:
            events = await self._hub.replay(self._operation_id, None)
        except ProgressUnavailableError:
            return False
        return any(event.is_final and id_key(event.id) <= self._last_key for event in events)


def ended_just_now(operation: Operation) -> bool:
    """Whether the final event may still be on its way: it is published after the row is committed."""
    if operation.finished_at is None:
        return True
    return datetime.now(UTC) - operation.finished_at < timedelta(seconds=POLL_SECONDS)


def synthesise_end(operation: Operation, *, event_id: str) -> ProgressEvent:
    """The final event as the row tells it, for a stream that has none."""
    event_type, data = final_event(operation)
    envelope = encode_envelope(
        event_type, data, operation_id=operation.id, collection_id=operation.collection_id, at=operation.finished_at
    )
    return parse_entry(event_id, envelope)


async def watch_user(
    hub: ProgressHub, user_id: UUID, *, poll_seconds: float = POLL_SECONDS
) -> AsyncIterator[ProgressEvent | None]:
    """Events of all of a user's operations from now on, without end; None after every silence."""
    async with hub.subscribe(user_channel(user_id)) as subscription:
        while True:
            item = await subscription.receive(timeout_seconds=poll_seconds)
            if item is not Gap.GAP:
                yield item
