"""HTTP to places that users name: to checked addresses alone, bounded, and no faster than it is polite."""

import asyncio
import hashlib
import time
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO

import httpcore
import httpx

from app.domain.failures import NetworkError, find_distrust
from app.domain.retry_after import parse_retry_after
from app.sources.addresses import resolve_allowed
from app.sources.opened import opened
from app.sources.web_urls import find_link, origin_of

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
PAGE_SECONDS = 300.0
CONNECTIONS = 8
WRITE_BYTES = 256 * 1024
TRIES = 3
RETRY_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
MOST_HOPS = 10
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
AGENT = f"Vecloom/{version('vecloom')}"
GZIP = frozenset({"gzip", "x-gzip"})
GZIP_BITS = 16 + zlib.MAX_WBITS
SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class TooLargeError(Exception):
    """The answer has more bytes than are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server has answered.

    Attributes:
        url: what was asked for.
        redirect: where it sends us instead, checked by nobody yet.
        size, digest: of the body, which is in the file that was named; None without one.
        is_too_large: its body has more bytes than are read; none of it was kept.
    """

    url: str
    status: int
    headers: httpx.Headers
    redirect: str | None = None
    size: int | None = None
    digest: bytes | None = None
    is_too_large: bool = False

    @property
    def kind(self) -> str:
        """Its media type, as ``text/html``."""
        said: str = self.headers.get("content-type", "")
        return said.partition(";")[0].strip().lower()

    @property
    def version(self) -> str | None:
        """What the server names this version of the page by."""
        if etag := self.headers.get("etag"):
            return f"etag {etag}"
        modified = self.headers.get("last-modified")
        return f"modified {modified}" if modified else None


def ask_if_changed(known: str | None) -> dict[str, str]:
    """Headers that ask for a page only if it is not of this version any more."""
    kind, _, value = (known or "").partition(" ")
    name = {"etag": "If-None-Match", "modified": "If-Modified-Since"}.get(kind)
    return {name: value} if name else {}


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the address that was checked: no name is asked for twice, so none can change in between."""

    def __init__(self, *, allow_private: bool) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._allow_private = allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 — the library's own signature
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See the library; the first address that answers."""
        addresses = await resolve_allowed(host, port, allow_private=self._allow_private)
        for address in addresses[:-1]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._inner.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        """See the library."""
        await asyncio.sleep(seconds)


class _CheckedTransport(httpx.AsyncHTTPTransport):
    """The library's transport over connections to checked addresses."""

    def __init__(self, *, allow_private: bool) -> None:
        super().__init__()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=CONNECTIONS,
            max_keepalive_connections=CONNECTIONS,
            network_backend=_CheckedBackend(allow_private=allow_private),
        )


class WebClient:
    """Asks for pages.

    Args:
        allow_private: whether addresses of this machine and its networks may be asked.
        per_second: most requests begun in a second.
        login: headers for the site of ``login_origin`` alone.
        retry_seconds: the pause before the second try; it doubles.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        per_second: float,
        login: Mapping[str, str] | None = None,
        login_origin: str = "",
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._pause_seconds = 1 / per_second
        self._login = dict(login or {})
        self._login_origin = login_origin
        self._retry_seconds = retry_seconds
        self._next_at = 0.0
        # proxies of the environment would connect for us, to addresses that nobody has checked
        self._http = httpx.AsyncClient(
            transport=_CheckedTransport(allow_private=allow_private),
            headers={"User-Agent": AGENT, "Accept-Encoding": "gzip"},
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )

    def slow_down(self, pause_seconds: float) -> None:
        """Wait at least so long between two requests."""
        self._pause_seconds = max(self._pause_seconds, pause_seconds)

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def get(self, url: str, *, into: Path, max_bytes: int, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for a page; its body is in the file ``into`` then, unpacked. Redirects are told, not followed.

        Raises:
            AddressNotAllowedError: if its host has an address that may not be asked.
            NetworkError: if nothing good comes after some tries.
            CertificateError: if its certificate cannot be trusted.
        """
        tries = 0
        while True:
            tries += 1
            await self._wait_for_turn()
            try:
                async with asyncio.timeout(PAGE_SECONDS):
                    answer = await self._ask(url, into, max_bytes, headers or {})
            except (httpx.HTTPError, NetworkError, TimeoutError, zlib.error) as error:
                if (distrust := find_distrust(error)) is not None:
                    raise distrust from error
                if tries == TRIES:
                    raise NetworkError(f"{origin_of(url)} does not answer ({type(error).__name__})") from error
                wait = self._retry_seconds * 2 ** (tries - 1)
            else:
                if answer.status not in TRY_AGAIN or tries == TRIES:
                    return answer
                asked = parse_retry_after(answer.headers.get("retry-after"))
                wait = min(asked if asked is not None else self._retry_seconds * 2 ** (tries - 1), LONGEST_WAIT_SECONDS)
            await asyncio.sleep(wait)

    async def follow(self, url: str, *, into: Path, max_bytes: int) -> Answer | None:
        """The same, following redirects inside the site; None if nothing answers.

        Every hop is a request of its own, whose address is checked like the first one's.

        Raises:
            AddressNotAllowedError, CertificateError: see ``get``.
        """
        origin = origin_of(url)
        for _ in range(MOST_HOPS):
            try:
                answer = await self.get(url, into=into, max_bytes=max_bytes)
            except NetworkError:
                return None
            if answer.redirect is None or origin_of(answer.redirect) != origin:
                return answer
            url = answer.redirect
        return answer

    async def _wait_for_turn(self) -> None:
        now = time.monotonic()
        turn = max(self._next_at, now)
        self._next_at = turn + self._pause_seconds
        await asyncio.sleep(turn - now)

    async def _ask(self, url: str, into: Path, max_bytes: int, headers: Mapping[str, str]) -> Answer:
        login = self._login if origin_of(url) == self._login_origin else {}
        async with self._http.stream("GET", url, headers={**headers, **login}) as response:
            answer = Answer(
                url=url,
                status=response.status_code,
                headers=response.headers,
                redirect=_read_redirect(url, response),
            )
            if not response.is_success:
                return answer
            try:
                size, digest = await _write_body(response, into, max_bytes)
            except TooLargeError:
                return Answer(url=url, status=answer.status, headers=answer.headers, is_too_large=True)
            return Answer(url=url, status=answer.status, headers=answer.headers, size=size, digest=digest)


def _read_redirect(url: str, response: httpx.Response) -> str | None:
    if response.status_code not in REDIRECTS:
        return None
    return find_link(url, response.headers.get("location", ""))


class _Body:
    """Writes what comes, unpacked if it is packed; a small answer cannot become a large file."""

    def __init__(self, file: IO[bytes], *, encoding: str, max_bytes: int) -> None:
        self._file = file
        self._decoder = zlib.decompressobj(GZIP_BITS) if encoding in GZIP else None
        self._left = max_bytes
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> bytes:
        """sha256 of what was written."""
        return self._hash.digest()

    def write(self, part: bytes) -> None:
        """Raises TooLargeError."""
        if self._decoder is None:
            self._keep(part)
            return
        while part:
            self._keep(self._decoder.decompress(part, WRITE_BYTES))
            part = self._decoder.unconsumed_tail

    def _keep(self, content: bytes) -> None:
        self._left -= len(content)
        if self._left < 0:
            raise TooLargeError
        self.size += len(content)
        self._hash.update(content)
        self._file.write(content)


async def _write_body(response: httpx.Response, into: Path, max_bytes: int) -> tuple[int, bytes]:
    """The body's size and sha256."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity", *GZIP}:
        raise httpx.DecodingError(f"an unknown encoding: {encoding}")
    length = response.headers.get("content-length", "")
    if not encoding and length.isdecimal() and int(length) > max_bytes:
        raise TooLargeError
    async with _opened(into) as file:
        body = _Body(file, encoding=encoding, max_bytes=max_bytes)
        async for part in response.aiter_raw(WRITE_BYTES):
            await asyncio.to_thread(body.write, part)
    return body.size, body.digest


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[IO[bytes]]:
    try:
        async with opened(path, "wb") as file:
            yield file
    except BaseException:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        raise
