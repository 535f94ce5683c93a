"""What a watcher sees: the missed events of an operation, then its live ones, then its end, each once.

The stream in Redis says what happened, the operation's row says whether it is over. A watcher that Redis tells
nothing learns the end from the row.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson

from app.domain.errors import ProgressUnavailableError
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
BEGINNING = "operation_started"
"""What no life of an operation has after its end; a late ``operation_queued`` may come behind everything."""

FindOperation = Callable[[], Awaitable[Operation]]
Events = AsyncGenerator[ProgressEvent | None, None]


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
        self._is_behind = True
        self._has_ended = False

    async def stream(self) -> Events:
        """Events up to the final one; None after every ``poll_seconds`` of silence.

        Raises:
            WatcherTooSlowError: if events were not taken fast enough.
        """
        async with self._hub.subscribe(operation_channel(self._operation_id)) as subscription:
            while True:
                if self._is_behind:
                    for event in await self._catch_up(subscription):
                        yield event
                if self._has_ended:
                    return
                item = await subscription.receive(timeout_seconds=self._poll_seconds)
                if isinstance(item, Gap):
                    self._is_behind = True
                elif item is None:
                    yield None
                    self._is_behind |= (await self._find_operation()).state.is_final
                elif not self._is_behind and self._take(item):
                    yield item

    def _take(self, event: ProgressEvent) -> bool:
        """Count an event as handed out; False if the watcher has it already."""
        key = id_key(event.id)
        if key <= self._last_key:
            return False
        self._last, self._last_key = event.id, key
        self._has_ended = event.is_final
        return True

    async def _catch_up(self, subscription: Subscription) -> list[ProgressEvent]:
        """What was missed, with the end if the row is final. Stays behind if Redis does not answer."""
        try:
            missed = await self._hub.replay(self._operation_id, self._last)
            self._is_behind = False
        except ProgressUnavailableError:
            missed = []
        operation = await self._find_operation()
        events = self._pick(missed, operation)
        if operation.state.is_final and not self._has_ended:
            events += await self._find_end(operation, subscription)
            self._has_ended = True
        return events

    def _pick(self, missed: list[ProgressEvent], operation: Operation) -> list[ProgressEvent]:
        """New events in order, none after the end."""
        end = find_end(missed, operation)
        end = len(missed) if end is None else end
        return [
            event
            for position, event in enumerate(missed[: end + 1])
            if (not event.is_final or position == end) and self._take(event)
        ]

    async def _find_end(self, operation: Operation, subscription: Subscription) -> list[ProgressEvent]:
        """The end of an operation whose row is final while nothing new in its stream is.

        The event may be on its way, the watcher may have it, or it is gone; then it is made from the row.
        """
        if not self._is_behind and await self._has_seen_end(operation):
            return []
        events = []
        deadline = time.monotonic() + (GRACE_SECONDS if ended_just_now(operation) else 0.0)
        while not self._has_ended and (left := deadline - time.monotonic()) > 0:
            item = await subscription.receive(timeout_seconds=left)
            if isinstance(item, ProgressEvent) and self._take(item):
                events.append(item)
        if not self._has_ended:
            events.append(synthesise_end(operation, event_id=self._last))
        return events

    async def _has_seen_end(self, operation: Operation) -> bool:
        """Whether the last event the watcher has comes at or after the end in the stream."""
        if self._last == FIRST_ID:
            return False
        try:
            events = await self._hub.replay(self._operation_id, None)
        except ProgressUnavailableError:
            return False
        end = find_end(events, operation)
        return end is not None and id_key(events[end].id) <= self._last_key


def find_end(events: Sequence[ProgressEvent], operation: Operation) -> int | None:
    """Place of the event that ended an operation, if its row says that it has ended and the stream says the same.

    A retried operation may have older ends in its stream, if Redis was away when that was to be dropped. They are of
    another type or code than the row, or something was begun after them.
    """
    if not operation.state.is_final:
        return None
    for place in range(len(events) - 1, -1, -1):
        if events[place].type == BEGINNING:
            return None
        if events[place].is_final:
            return place if _agrees(events[place], operation) else None
    return None


def _agrees(event: ProgressEvent, operation: Operation) -> bool:
    event_type, data = final_event(operation)
    told = orjson.loads(event.body).get("data") or {}
    return event.type == event_type and told.get("error_code") == data.get("error_code")


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


async def watch_user(hub: ProgressHub, user_id: UUID, *, poll_seconds: float = POLL_SECONDS) -> Events:
    """Events of all of a user's operations from now on, without end; None after every silence."""
    async with hub.subscribe(user_channel(user_id)) as subscription:
        while True:
            item = await subscription.receive(timeout_seconds=poll_seconds)
            if not isinstance(item, Gap):
                yield item
