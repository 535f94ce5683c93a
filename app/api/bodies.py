"""Limits the bodies of requests."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import BodyTooLargeError


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
        is_declared_too_large = declared.isdecimal() and int(declared) > self._max_bytes
        taken = 0

        async def receive_counted() -> Message:
            nonlocal taken
            if is_declared_too_large:
                raise BodyTooLargeError(self._max_bytes)
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._max_bytes:
                raise BodyTooLargeError(self._max_bytes)
            return message

        await self._inner(scope, receive_counted, send)
