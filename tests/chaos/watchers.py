"""Watchers that see an operation to its end, however often they are cut off, and remember what they saw."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from app.progress.events import FINAL_TYPES, id_key
from tests.chaos.client import Client

PAUSE_SECONDS = 0.25
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 20.0
AFTERMATH_SECONDS = 1.0
NORMAL = 1000
UNEXPECTED = 1011
REFUSALS = frozenset({1008, 4401, 4403, 4404})


class Story:
    """What one watcher saw of an operation from one start, or retry, to its end.

    Attributes:
        events: ids and types in the order they came.
        final: the event that ended it.
        problems: what a watcher must never see.
    """

    def __init__(self, operation_id: str) -> None:
        self.operation_id = operation_id
        self.events: list[tuple[str, str]] = []
        self.final: dict[str, Any] | None = None
        self.problems: list[str] = []
        self.ended = asyncio.Event()

    @property
    def last_id(self) -> str | None:
        """Id of the newest event, to go on after."""
        return self.events[-1][0] if self.events else None

    def take(self, event: dict[str, Any]) -> None:
        """Note one event."""
        event_id, kind = event["id"], event["type"]
        is_final = kind in FINAL_TYPES
        if self.final is not None:
            self.problems.append(f"{kind} ({event_id}) after the final {self.final['type']} ({self.final['id']})")
        elif self.last_id is not None and not self._follows(event_id, is_final=is_final):
            self.problems.append(f"{kind} has id {event_id} after {self.events[-1]}")
        if event["operation_id"] != self.operation_id:
            self.problems.append(f"{kind} is of operation {event['operation_id']}")
        self.events.append((event_id, kind))
        if is_final and self.final is None:
            self.final = event
            self.ended.set()

    def _follows(self, event_id: str, *, is_final: bool) -> bool:
        """Ids grow; an end that was made from the row, for want of the real one, has the id of the event before."""
        key, last = id_key(event_id), id_key(self.last_id or "0-0")
        return key > last or (is_final and key == last)


async def watch(story: Story, client: Client, *, over: str) -> None:
    """Watch until the end, by ``websocket`` or ``sse``."""
    follow = _follow_websocket if over == "websocket" else _follow_sse
    while story.final is None:
        # cut off: connect again after the last event
        with suppress(OSError, TimeoutError, WebSocketException, httpx.HTTPError):
            await follow(story, client)
        await asyncio.sleep(PAUSE_SECONDS)


async def _follow_websocket(story: Story, client: Client) -> None:
    after = f"?after={story.last_id}" if story.last_id else ""
    url = f"{client.next_url().replace('http', 'ws', 1)}/api/v1/ws/operations/{story.operation_id}{after}"
    connection = connect(
        url,
        additional_headers=client.headers,
        open_timeout=CONNECT_SECONDS,
        close_timeout=AFTERMATH_SECONDS,
        ping_interval=SILENCE_SECONDS / 2,
        ping_timeout=SILENCE_SECONDS / 2,
    )
    async with connection as socket:
        with suppress(ConnectionClosed):
            async for message in socket:
                story.take(json.loads(message))
        _judge_close(story, socket.close_code, socket.close_reason or "")


def _judge_close(story: Story, code: int | None, reason: str) -> None:
    if code == NORMAL and story.final is None:
        story.problems.append("closed as complete (1000) before any final event")
    if code == UNEXPECTED and "ping" not in reason:
        story.problems.append(f"closed with 1011 {reason!r}")
    if code in REFUSALS:
        story.problems.append(f"refused with {code} {reason!r}")


async def _follow_sse(story: Story, client: Client) -> None:
    url = f"{client.next_url()}/api/v1/operations/{story.operation_id}/events"
    headers = {**client.headers, **({"Last-Event-ID": story.last_id} if story.last_id else {})}
    timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    async with (
        httpx.AsyncClient(timeout=timeout) as http,
        http.stream("GET", url, headers=headers) as answer,
    ):
        if answer.status_code >= 500:
            return
        if answer.status_code != 200:
            story.problems.append(f"the event stream was answered with {answer.status_code}")
            return
        async for event in _parse_sse(answer.aiter_lines()):
            story.take(event)


async def _parse_sse(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    """The data of complete events; half of one at a broken end is dropped."""
    data: str | None = None
    async for line in lines:
        if line.startswith("data: "):
            data = line.removeprefix("data: ")
        elif not line and data is not None:
            yield json.loads(data)
            data = None
