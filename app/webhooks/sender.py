"""Makes one attempt at a delivery."""

import asyncio
import socket
import time
from collections.abc import Mapping
from importlib.metadata import version

import httpx

from app.domain.addresses import Address, is_allowed, parse_address
from app.domain.failures import find_distrust
from app.domain.retry_after import parse_retry_after
from app.domain.webhooks import (
    Receipt,
    WebhookAddressError,
    WebhookGoneError,
    WebhookRedirectedError,
    WebhookRejectedError,
    WebhookTimeoutError,
    WebhookUnreachableError,
)

PORTS = {"http": 80, "https": 443}
CONNECT_SECONDS = 5.0
MOST_ADDRESSES = 4
NO_KEEPALIVE = httpx.Limits(max_connections=None, max_keepalive_connections=0)


class WebhookSender:
    """Posts to addresses of the internet; follows no redirect, keeps no cookie, uses no proxy, reads no body.

    The host's name is resolved for each attempt, and the address that was checked is the one that is connected to.

    Args:
        timeout_seconds: of a whole attempt.
        allow_private: whether private and loopback addresses are allowed.
    """

    def __init__(self, *, timeout_seconds: float, allow_private: bool) -> None:
        self._timeout_seconds = timeout_seconds
        self._allow_private = allow_private
        self._transport: httpx.AsyncHTTPTransport | None = None
        self._agent = f"Vecloom/{version('vecloom')}"
        self._opening = asyncio.Lock()

    async def send(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Receipt:
        """Post a JSON body; what goes wrong is in the receipt."""
        started = time.monotonic()
        status: int | None = None
        retry_after: str | None = None
        code: str | None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._post(httpx.URL(url), headers, body)
            status, retry_after = response.status_code, response.headers.get("retry-after")
            code = judge(status)
        except WebhookAddressError as error:
            code = error.code
        except (TimeoutError, httpx.TimeoutException):
            code = WebhookTimeoutError.code
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            distrust = find_distrust(error)
            code = WebhookUnreachableError.code if distrust is None else distrust.code
        return Receipt(
            status=status,
            error_code=code,
            seconds=time.monotonic() - started,
            retry_after_seconds=parse_retry_after(retry_after),
        )

    async def aclose(self) -> None:
        """Close what is open."""
        if self._transport is not None:
            await self._transport.aclose()

    async def _post(self, url: httpx.URL, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        host = url.raw_host.decode("ascii")
        addresses = await self._resolve(host, url.port or PORTS[url.scheme])
        transport = await self._open()
        for address in addresses[:-1]:
            try:
                return await self._post_to(transport, address, url, headers, body)
            except httpx.ConnectError:
                # nothing was sent: the next one may be reachable, as where there is no IPv6
                continue
        return await self._post_to(transport, addresses[-1], url, headers, body)

    async def _post_to(
        self,
        transport: httpx.AsyncHTTPTransport,
        address: Address,
        url: httpx.URL,
        headers: Mapping[str, str],
        body: bytes,
    ) -> httpx.Response:
        seconds = self._timeout_seconds
        timeout = {"connect": min(CONNECT_SECONDS, seconds), "read": seconds, "write": seconds, "pool": seconds}
        request = httpx.Request(
            "POST",
            url.copy_with(host=str(address)),
            headers={
                **headers,
                "Host": url.netloc.decode("ascii"),
                "Content-Type": "application/json",
                "User-Agent": self._agent,
                "Connection": "close",
            },
            content=body,
            extensions={"timeout": timeout, "sni_hostname": url.raw_host.decode("ascii")},
        )
        response = await transport.handle_async_request(request)
        await response.aclose()
        return response

    async def _resolve(self, host: str, port: int) -> list[Address]:
        """Allowed addresses of a host, at least one. Raises WebhookAddressError, OSError."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [parse_address(str(where[0])) for *_, where in found]
        allowed = [
            address
            for address in dict.fromkeys(addresses)
            if address is not None and is_allowed(address, allow_private=self._allow_private)
        ]
        if not allowed:
            raise WebhookAddressError
        return allowed[:MOST_ADDRESSES]

    async def _open(self) -> httpx.AsyncHTTPTransport:
        async with self._opening:
            if self._transport is None:
                # reading all certificates takes a while
                trusted = await asyncio.to_thread(httpx.create_ssl_context)
                self._transport = httpx.AsyncHTTPTransport(verify=trusted, trust_env=False, limits=NO_KEEPALIVE)
            return self._transport


def judge(status: int) -> str | None:
    """The error that a status is; None for a success."""
    if 200 <= status < 300:
        return None
    if status == 410:
        return WebhookGoneError.code
    return WebhookRedirectedError.code if 300 <= status < 400 else WebhookRejectedError.code
