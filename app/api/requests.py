"""What surrounds every request: its id, its log line, and an answer to a bug."""

import re
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import answer_bug
from app.api.origin import client_address, trusted_networks
from app.domain.audit import Actor, ActorKind, acting_as
from app.traces import HEADER as TRACE_HEADER
from app.traces import end_request, request_span

log = structlog.get_logger(__name__)

UNMATCHED = "unmatched"
HEADER = "x-request-id"
SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
UNEXPECTED = 1011
PROBES = ("/metrics", "/health/live", "/health/ready")
"""Ends of paths that are asked for all day; a trace of each would bury the others."""

NO_TELEMETRY: dict[str, Any] = {"telemetry": {"tracing": False, "metrics": False, "logs": False}}
"""Newer releases of fastapi trace by themselves, with the path and the texts of exceptions in their spans."""


def route_of(scope: Scope, *, prefix: str) -> str:
    """Template of the matched route; fastapi's newer releases leave out the prefix of an included router."""
    template: str = getattr(scope.get("route"), "path", "")
    if not template:
        return UNMATCHED
    if scope["path"].startswith(f"{prefix}/") and not template.startswith(prefix):
        return prefix + template
    return template


class _Exchange:
    """One request and what became of it: ``status`` is the answer's, or the close code of a WebSocket."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope).get(HEADER, "")
        self.request_id = asked if SANE_ID.fullmatch(asked) else uuid4().hex
        self.status: int | None = None
        self._scope = scope
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """Note how a WebSocket ends if the client ends it."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect" and self.status is None:
            self.status = message.get("code")
        return message

    async def send(self, message: Message) -> None:
        """Note how it ends, and say which request it is."""
        kind = message["type"]
        if kind in ("http.response.start", "websocket.accept"):
            marked = (HEADER.encode(), self.request_id.encode())
            message = {**message, "headers": [*message.get("headers", ()), marked]}
        if kind == "http.response.start":
            self.status = message["status"]
        elif kind == "websocket.close":
            self.status = message.get("code")
        await self._send(message)

    async def answer_bug(self) -> None:
        """Say that it is over, unless that is said or cannot be said any more."""
        if self.status is not None:
            return
        if self._scope["type"] == "websocket":
            await self.send({"type": "websocket.close", "code": UNEXPECTED})
        else:
            await answer_bug(self.request_id)(self._scope, self.receive, self.send)


class FollowRequests:
    """ASGI middleware: a request id in every log line and in the answer, one line at the end, bugs answered as 500.

    It also knows where a request comes from, for the audit log.
    """

    def __init__(self, inner: ASGIApp, *, prefix: str, trusted_proxies: Sequence[str] = ()) -> None:
        self._inner = inner
        self._prefix = prefix
        self._trusted_proxies = trusted_networks(trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request that nobody waited for to the end has no status in its line."""
        if scope["type"] not in ("http", "websocket"):
            await self._inner(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        address = client_address(scope, self._trusted_proxies)
        actor = Actor(kind=ActorKind.SYSTEM, address=address, request_id=exchange.request_id)
        with structlog.contextvars.bound_contextvars(request_id=exchange.request_id), acting_as(actor):
            if scope["type"] == "websocket" or scope["path"].endswith(PROBES):
                # a socket lives as long as somebody watches: its span would be no work of ours
                await self._follow(scope, exchange)
                return
            with request_span(scope["method"], Headers(scope=scope).get(TRACE_HEADER)) as span:
                try:
                    await self._follow(scope, exchange)
                finally:
                    route = route_of(scope, prefix=self._prefix)
                    end_request(span, method=scope["method"], route=route, status=exchange.status)

    async def _follow(self, scope: Scope, exchange: _Exchange) -> None:
        started = time.perf_counter()
        try:
            await self._inner(scope, exchange.receive, exchange.send)
        except Exception:
            log.exception("request_failed", route=route_of(scope, prefix=self._prefix))
            await exchange.answer_bug()
        finally:
            log.info(
                "request_done",
                method=scope.get("method", "WEBSOCKET"),
                route=route_of(scope, prefix=self._prefix),
                status=exchange.status,
                ms=round((time.perf_counter() - started) * 1000, 1),
            )
