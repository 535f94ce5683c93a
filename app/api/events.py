"""Progress as server-sent events and over WebSockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Header, WebSocket
from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from app.api.auth import CallerDep, ServicesDep, authenticate
from app.api.errors import UNAVAILABLE
from app.api.services import ApiServices, services_of
from app.api.slots import WatcherSlots
from app.api.watch import Events, OperationWatch, watch_user
from app.domain.errors import (
    DomainError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    OperationNotFoundError,
    PermissionDeniedError,
    TooManyWatchersError,
    WatcherTooSlowError,
)
from app.domain.users import Caller

log = structlog.get_logger(__name__)

SEND_TIMEOUT_SECONDS = 10.0
KEEPALIVE = b": still here\n\n"
SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

NORMAL = 1000
CLOSE_CODES: tuple[tuple[type[DomainError], int], ...] = (
    (NotAuthenticatedError, 4401),
    (PermissionDeniedError, 4403),
    (NotFoundError, 4404),
    (WatcherTooSlowError, 4008),
    (TooManyWatchersError, 4429),
    (InvalidInputError, 1008),
)
UNEXPECTED = 1011
TRY_AGAIN_LATER = 1013

OpenEvents = Callable[[ApiServices, Caller], Awaitable[Events]]

router = APIRouter(tags=["operations"])


def _slots(connection: Request | WebSocket) -> WatcherSlots:
    slots: WatcherSlots = connection.app.state.slots
    return slots


def watch_operation(services: ApiServices, caller: Caller, operation_id: UUID, after: str | None) -> Events:
    """One operation's events for one caller; raises InvalidInputError if ``after`` is no event id."""
    watch = OperationWatch(
        services.hub, operation_id, partial(services.operations.get, caller.user_id, operation_id), after=after
    )
    return watch.stream()


class EventStreamResponse(StreamingResponse):
    """Server-sent events; holds its watcher's slot until the client is gone, however it goes."""

    def __init__(self, events: Events, *, slots: WatcherSlots, user_id: UUID) -> None:
        super().__init__(render_events(events), media_type="text/event-stream", headers=SSE_HEADERS)
        self._events = events
        self._slots = slots
        self._user_id = user_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the final one, or until the client leaves."""
        with self._slots.hold(self._user_id):
            try:
                async with aclosing(self._events):
                    await super().__call__(scope, receive, send)
            except ClientDisconnect:
                log.debug("watcher_left")


async def render_events(events: Events) -> AsyncIterator[bytes]:
    """``id:`` and ``data:`` lines; silence becomes a comment, so that proxies keep the connection."""
    try:
        async for event in events:
            if event is None:
                yield KEEPALIVE
            else:
                yield b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.type.encode(), event.body)
    except WatcherTooSlowError:
        # the client connects again with its last event id
        log.info("watcher_too_slow")
    except UNAVAILABLE as error:
        # the answer has begun, so nothing else can be said
        log.warning("dependency_unavailable", error=type(error).__name__)


@router.get(
    "/operations/{operation_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Progress events."}},
)
async def read_events(
    request: Request,
    operation_id: UUID,
    caller: CallerDep,
    services: ServicesDep,
    last_event_id: Annotated[str | None, Header(description="Id of the last event already seen.")] = None,
) -> StreamingResponse:
    """Events of an operation: what was missed, then live ones; ends after the final event."""
    await services.operations.get(caller.user_id, operation_id)
    events = watch_operation(services, caller, operation_id, last_event_id or None)
    return EventStreamResponse(events, slots=_slots(request), user_id=caller.user_id)


@router.websocket("/ws/operations/{operation_id}")
async def follow_operation(websocket: WebSocket, operation_id: str, after: str | None = None) -> None:
    """Events of one operation: what was missed, then live ones; closes with 1000 after the final event."""

    async def open_events(services: ApiServices, caller: Caller) -> Events:
        known = parse_operation_id(operation_id)
        await services.operations.get(caller.user_id, known)
        return watch_operation(services, caller, known, after or None)

    await _serve(websocket, open_events)


@router.websocket("/ws/operations")
async def follow_user(websocket: WebSocket) -> None:
    """Live events of all of the caller's operations."""

    async def open_events(services: ApiServices, caller: Caller) -> Events:
        return watch_user(services.hub, caller.user_id)

    await _serve(websocket, open_events)


def parse_operation_id(text: str) -> UUID:
    """Raises OperationNotFoundError: what is no id names no operation."""
    try:
        return UUID(text)
    except ValueError as error:
        raise OperationNotFoundError(text) from error


async def _serve(websocket: WebSocket, open_events: OpenEvents) -> None:
    """Authenticate, send events until they end, and say by the close code why it is over.

    The socket is accepted first, because a refused one could not carry a close code.
    """
    await websocket.accept()
    try:
        caller = await authenticate(websocket)
        with _slots(websocket).hold(caller.user_id):
            events = await open_events(services_of(websocket), caller)
            if not await _deliver(websocket, events):
                return
    except DomainError as error:
        await _close(websocket, close_code_of(error), error.code)
    except UNAVAILABLE as error:
        log.warning("dependency_unavailable", error=type(error).__name__)
        await _close(websocket, TRY_AGAIN_LATER, "dependency_unavailable")
    else:
        await _close(websocket, NORMAL, "")


def close_code_of(error: DomainError) -> int:
    """The close code an error's class amounts to."""
    for kind, code in CLOSE_CODES:
        if isinstance(error, kind):
            return code
    return UNEXPECTED


async def _deliver(websocket: WebSocket, events: Events) -> bool:
    """Send events until they end; False if the client left before."""
    try:
        async with asyncio.TaskGroup() as group:
            sender = group.create_task(_send(websocket, events))
            listener = group.create_task(_listen(websocket))
            await asyncio.wait({sender, listener}, return_when=asyncio.FIRST_COMPLETED)
            is_connected = not listener.done()
            sender.cancel()
            listener.cancel()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return is_connected


async def _send(websocket: WebSocket, events: Events) -> None:
    """Send each event as a text frame; raises WatcherTooSlowError if the client does not take one in time."""
    async with aclosing(events):
        async for event in events:
            if event is None:
                continue
            try:
                async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                    await websocket.send_text(event.body.decode())
            except TimeoutError as error:
                raise WatcherTooSlowError("an event was not taken in time") from error
            except WebSocketDisconnect:
                # the listener hears of it too, and says that the client is gone
                return


async def _listen(websocket: WebSocket) -> None:
    """Return when the client leaves; whatever it says is ignored."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    """Say good-bye, without waiting long for a client that does not listen."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            await websocket.close(code, reason)
    except (WebSocketDisconnect, TimeoutError, RuntimeError) as error:
        # RuntimeError: starlette's word for a socket that is closed already
        log.debug("watcher_left", error=type(error).__name__)
