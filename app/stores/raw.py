"""Requests to Qdrant's REST API as they are: bytes there, bytes back.

By aiohttp, which spends a tenth of what httpx does on a small request; a search is one.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import httpx
from yarl import URL

from app.domain.failures import CertificateError, find_distrust

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 3.0
"""Less than a server keeps a connection that nobody uses; the shortest that is usual is 5 s."""
LARGE_BYTES = 1 << 20
"""Larger bodies are written in parts, between which the event loop does other things."""
FAILURES = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The content as people may read it."""
        return self.content.decode("utf-8", "replace")


class NoAnswerError(Exception):
    """A server did not answer; ``distrust`` is there if that is because of its certificate."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.distrust: CertificateError | None = find_distrust(error)


class RawClient:
    """Asks one server; connections are kept for a moment. To be used and closed in one event loop."""

    def __init__(
        self, url: str, *, headers: Mapping[str, str], timeout_seconds: float, trust_environment: bool
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json", **headers}
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_read=timeout_seconds, connect=None, sock_connect=min(CONNECT_SECONDS, timeout_seconds)
        )
        self._trust_environment = trust_environment
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self, method: str, collection: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> RawResponse:
        """One request about a collection.

        Raises:
            NoAnswerError: if the server cannot be reached, takes too long, or the connection breaks.
        """
        url = URL(f"{self._url}/collections/{quote(collection, safe='')}/{path}", encoded=True)
        data = body if len(body) < LARGE_BYTES else io.BytesIO(body)
        try:
            async with self._open().request(method, url, data=data, headers=headers, allow_redirects=False) as response:
                content = await response.read()
        except FAILURES as error:
            raise NoAnswerError(error) from error
        return RawResponse(status=response.status, headers=response.headers, content=content)

    def _open(self) -> aiohttp.ClientSession:
        """The session; it belongs to the event loop that runs, so it is made when it is first needed."""
        if self._session is None:
            options: dict[str, Any] = {"ssl": httpx.create_ssl_context()} if self._url.startswith("https:") else {}
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS, **options)
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=self._headers,
                timeout=self._timeout,
                trust_env=self._trust_environment,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
