"""Addresses of pages: one way to write each, and the path that people and globs see."""

import re
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from app.domain.errors import UnsupportedSourceError

LONGEST_URL = 2000
"""A longer one is more often a trap that makes new addresses for ever."""
DEFAULT_PORTS = {"http": 80, "https": 443}
INDEX = "index.html"
KEPT = "/:@!$&'()*+,;=~-._%"
ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def normalise(url: str) -> str:
    """One way to write a URL: without fragment, login and default port, its host in small letters, encoded if need be.

    Raises:
        UnsupportedSourceError: if it is no ``http:`` or ``https:`` URL with a host.
    """
    try:
        parts = urlsplit(url.strip())
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
        if scheme not in DEFAULT_PORTS or not host:
            raise UnsupportedSourceError("a page needs a URL that begins with http:// or https:// and names a host")
        # what browsers do: names in other scripts are asked for in ASCII
        name = host if host.isascii() else host.encode("idna").decode()
    except (ValueError, UnicodeError):
        raise UnsupportedSourceError("that is no URL; see whether its host and its port are written well") from None
    shown = f"[{name}]" if ":" in name else name
    place = shown if port in {None, DEFAULT_PORTS[scheme]} else f"{shown}:{port}"
    return urlunsplit((scheme, place, _encoded(parts.path) or "/", _encoded(parts.query, also="?"), ""))


def _encoded(text: str, *, also: str = "") -> str:
    """Percent-encode what must be and nothing else; capital digits."""

    def rewrite(found: re.Match[str]) -> str:
        character = chr(int(found.group(1), 16))
        return character if character in PLAIN else found.group(0).upper()

    return ENCODED.sub(rewrite, quote(text, safe=KEPT + also, errors="replace"))


def find_link(base: str, link: str) -> str | None:
    """Where a link of a page leads; None if that is no page."""
    try:
        url = normalise(urljoin(base, link.strip()))
    except (ValueError, UnsupportedSourceError):
        return None
    return url if len(url) <= LONGEST_URL else None


def origin_of(url: str) -> str:
    """``https://host:8443`` of a normalised URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def path_of(url: str) -> str:
    """The path of a normalised URL's document: below its site, ``/`` being ``index.html``."""
    parts = urlsplit(url)
    path = unquote(parts.path).lstrip("/")
    if not path or path.endswith("/"):
        path += INDEX
    return f"{path}?{unquote(parts.query)}" if parts.query else path


def suffix_of(url: str) -> str:
    """``.pdf`` of ``https://host/a.PDF?download=1``."""
    name = urlsplit(url).path.rpartition("/")[2]
    return f".{name.rpartition('.')[2].lower()}" if "." in name else ""
