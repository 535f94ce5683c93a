"""Whether a browser says that the page of this server asks, and not that of another one."""

from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from app.domain.sessions import ForeignOriginError

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing. A WebSocket has none."""


def require_same_origin(connection: HTTPConnection) -> None:
    """Raise ForeignOriginError unless the page of this server asks.

    Requests that change nothing may come from anywhere: no other page can read their answers. A WebSocket can be read
    by whoever opens it. Cookies know no ports, so another server on the same machine counts as another site here.
    """
    if connection.scope.get("method") not in SAFE and not is_from_here(connection):
        raise ForeignOriginError


def is_from_here(connection: HTTPConnection) -> bool:
    """What the browser itself says of where a request comes from; no page can change that."""
    site = connection.headers.get("sec-fetch-site")
    if site is not None and connection.scope["type"] == "http":
        # right also behind a proxy that changes the host
        return site == "same-origin"
    origin = connection.headers.get("origin")
    return origin is not None and _host_of(origin) == connection.headers.get("host", "").lower()


def _host_of(origin: str) -> str | None:
    """Host and port as the header ``Host`` has them; None for an origin that is none, as ``null``."""
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return None
    return parts.netloc if parts.scheme in ("http", "https") and parts.netloc else None
