"""Limits the bodies of requests."""

from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import BodyTooLargeError

KEY = "vecloom.body_limit"


@dataclass(slots=True, kw_only=True)
class BodyLimit:
    """How many bytes the body of one request may have, until its route knows better."""

    max_bytes: int


def raise_body_limit(request: Request, max_bytes: int) -> None:
    """Let the body of this request have more bytes; its caller is known by now, and it is read in parts."""
    limit: BodyLimit = request.scope[KEY]
    limit.max_bytes = max(limit.max_bytes, max_bytes)


class LimitBodies:
    """ASGI middleware: refuses a body that is too large, before it is read if its length is declared."""

    def __init__(self, inner: ASGIApp, *, max_bytes: int) -> None:
        self._inner = inner
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A chunked body declares no length, so what comes is counted too. A route that reads no body refuses none."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        length = int(declared) if declared.isdecimal() else 0
        limit = BodyLimit(max_bytes=self._max_bytes)
        taken = 0

        async def receive_counted() -> Message:
            nonlocal taken
            if length > limit.max_bytes:
                raise BodyTooLargeError(limit.max_bytes)
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit.max_bytes:
                raise BodyTooLargeError(limit.max_bytes)
            return message

        scope[KEY] = limit
        await self._inner(scope, receive_counted, send)
