"""The HTTP and WebSocket client behind every command."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

TIMEOUT_SECONDS = 60.0
RECONNECTS = 20
RECONNECT_SECONDS = 0.5
FINAL_TYPES = frozenset({"operation_completed", "operation_failed", "operation_cancelled"})
ENDS_FOR_GOOD = frozenset({4401, 4404})


class CliError(Exception):
    """What a command says before it exits with 1: a stable code and what to do."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class ServerGoneError(CliError):
    """The server went away in the middle; the operation itself is safe."""


class Client:
    """One server, one key."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.AsyncClient(
            base_url=f"{self.url}/api/v1", headers=self._headers, timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=5.0)
        )

    async def call(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401 — httpx's options, JSON back
        """One request; raises CliError with the server's own code."""
        try:
            response = await self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise ServerGoneError(
                "server_unreachable", f"{self.url} does not answer ({type(error).__name__}); is `vecloom up` running?"
            ) from error
        if response.is_success:
            return orjson.loads(response.content)
        try:
            problem = orjson.loads(response.content)
            raise CliError(problem["code"], problem.get("detail") or problem["title"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise CliError("unexpected_answer", f"the server answers {response.status_code}") from error

    async def find(self, path: str) -> Any:  # noqa: ANN401 — JSON
        """A GET that gives None for 404."""
        try:
            return await self.call("GET", path)
        except CliError as error:
            if error.code.endswith(("_not_found", "not_found")):
                return None
            raise

    async def watch(self, operation_id: str, *, after: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Events of an operation to its final one; reconnects where it was.

        Raises:
            ServerGoneError: if the server stays away. Its ``after`` is the last event seen.
        """
        address = f"ws{self.url.removeprefix('http')}/api/v1/ws/operations/{operation_id}"
        failures = 0
        while True:
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
                close_code = socket.close_code
                if close_code in ENDS_FOR_GOOD:
                    raise CliError("operation_not_found", f"operation {operation_id} cannot be watched")
            except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError) as error:
                if failures >= RECONNECTS:
                    raise ServerGoneError("server_unreachable", f"{self.url} went away") from error
            failures += 1
            await asyncio.sleep(RECONNECT_SECONDS)

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()
