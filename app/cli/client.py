"""The HTTP and WebSocket client behind every command."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from app.domain.sanitising import sanitise

TIMEOUT_SECONDS = 60.0
RECONNECTS = 20
RECONNECT_SECONDS = 0.5
CLOSE_NORMAL = 1000
NO_CONTENT = 204
NOT_FOUND = 404
FINAL_TYPES = frozenset({"operation_completed", "operation_failed", "operation_cancelled"})
ENDS_FOR_GOOD = {
    4401: ("not_authenticated", "the server does not accept this API key; see VECLOOM_API_KEY"),
    4403: ("permission_denied", "this API key may not watch operations"),
    4404: ("operation_not_found", "the server does not know this operation"),
}
"""Close codes after which connecting again cannot help."""


class CliError(Exception):
    """What a command says before it exits with 1: a stable code and what to do."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class ServerGoneError(CliError):
    """The server went away in the middle; the operation itself is safe."""


def without_login(url: str) -> str:
    """A URL as it may be shown; an ``@`` or ``/`` of a password may be written as it is."""
    return sanitise(re.sub(r"(?<=://)[^/]*@", "", url))


def collection_path(name: str, *rest: str) -> str:
    """Path of a collection, or of something below it; any name is safe in it."""
    return "/".join(["/collections", quote(name, safe=""), *rest])


class Client:
    """One server, one key.

    Args:
        is_found: whether both were found in a data folder. Who does not accept this key is another server then.
    """

    def __init__(self, url: str, api_key: str, *, is_found: bool = False) -> None:
        if not api_key.isascii():
            raise CliError("invalid_setting", "VECLOOM_API_KEY has characters that no key has")
        self._is_found = is_found
        self.url = url.rstrip("/")
        self.shown = without_login(self.url)
        # a header without a key is one that cannot be sent
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            self._http = httpx.AsyncClient(
                base_url=f"{self.url}/api/v1",
                headers=self._headers,
                timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=5.0),
            )
        except httpx.InvalidURL as error:
            # what httpx says may hold a part of the password
            detail = "VECLOOM_URL is no URL; its port must be a number; write / and @ of a password as %2F, %40"
            raise CliError("invalid_setting", detail) from error

    async def call(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401 — httpx's options, JSON back
        """One request; raises CliError with the server's own code."""
        response = await self._send(method, path, **options)
        try:
            if response.status_code == NO_CONTENT:
                return None
            answer = orjson.loads(response.content)
            if response.is_success:
                return answer
            raise self._refused(answer["code"], answer.get("detail") or answer["title"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise self._unexpected(response) from error

    async def fetch(self, path: str, **options: Any) -> bytes:  # noqa: ANN401 — see above
        """What a path has, as it comes; raises CliError with the server's own code."""
        response = await self._send("GET", path, **options)
        if response.is_success:
            return response.content
        raise self._refusal(response)

    async def exchange(self, method: str, path: str, **options: Any) -> httpx.Headers:  # noqa: ANN401 — see above
        """One request whose answer is in its headers; raises CliError with the server's own code."""
        response = await self._send(method, path, **options)
        if response.is_success:
            return response.headers
        if method == "HEAD":
            # whose answer has no body
            code = "upload_not_found" if response.status_code == NOT_FOUND else "upload_busy"
            raise CliError(code, f"the server answers {response.status_code}")
        raise self._refusal(response)

    async def read_health(self) -> dict[str, str | None]:
        """What is wrong with each part the server needs, None if nothing is; needs no key."""
        response = await self._send("GET", "/health/ready")
        try:
            answer = orjson.loads(response.content)
            details = answer.get("details", {})
            return {name: None if ok else details.get(name, "not well") for name, ok in answer["checks"].items()}
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise self._unexpected(response) from error

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 — see above
        try:
            return await self._http.request(method, path, **options)
        except httpx.UnsupportedProtocol as error:
            raise CliError("invalid_setting", f"VECLOOM_URL cannot be used: {error}") from error
        except httpx.TransportError as error:
            raise ServerGoneError(
                "server_unreachable", f"{self.shown} does not answer ({type(error).__name__}); is `vecloom up` running?"
            ) from error

    def _refusal(self, response: httpx.Response) -> CliError:
        try:
            answer = orjson.loads(response.content)
            return self._refused(answer["code"], answer.get("detail") or answer["title"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return self._unexpected(response)

    def _refused(self, code: str, detail: str) -> CliError:
        if code == "not_authenticated" and self._is_found:
            detail = f"the server at {self.shown} was started anew and has another key; run the command again"
            return ServerGoneError("server_replaced", detail)
        return CliError(code, detail)

    def _unexpected(self, response: httpx.Response) -> CliError:
        detail = f"{self.shown} answers {response.status_code}, and not as Vecloom does; is it a Vecloom server?"
        return CliError("unexpected_answer", detail)

    async def find_collection(self, name: str) -> Any:  # noqa: ANN401 — JSON
        """The collection, or None."""
        try:
            return await self.call("GET", collection_path(name))
        except CliError as error:
            if error.code == "collection_not_found":
                return None
            raise

    async def watch(self, operation_id: str, *, after: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Events of an operation to its final one; reconnects where it was.

        Raises:
            ServerGoneError: if the server stays away.
            CliError: if it does not let this client watch.
        """
        address = f"ws{self.url.removeprefix('http')}/api/v1/ws/operations/{operation_id}"
        failures = 0
        while failures <= RECONNECTS:
            query = f"?after={quote(after)}" if after else ""
            try:
                async with connect(address + query, additional_headers=self._headers, max_size=None) as socket:
                    async for message in socket:
                        failures = 0
                        event: dict[str, Any] = orjson.loads(message)
                        after = event["id"]
                        yield event
                        if event["type"] in FINAL_TYPES:
                            return
                if socket.close_code == CLOSE_NORMAL and after:
                    return  # nothing comes after the event that this client had already
            except ConnectionClosed as closed:
                if closed.rcvd is not None and closed.rcvd.code in ENDS_FOR_GOOD:
                    raise self._refused(*ENDS_FOR_GOOD[closed.rcvd.code]) from closed
            except (OSError, InvalidHandshake, TimeoutError):
                pass
            failures += 1
            await asyncio.sleep(RECONNECT_SECONDS)
        raise ServerGoneError("server_unreachable", f"{self.shown} went away; the operation itself is kept")

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()
