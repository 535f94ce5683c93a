"""Where a model server is, and what is sent there."""

import httpx

from app.domain.errors import InvalidInputError


def parse_address(url: str) -> httpx.URL:
    """The URL of a setting.

    Raises:
        InvalidInputError: if it is no ``http:`` or ``https:`` URL; without the URL, which may hold a password.
    """
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL:
        # the reason would quote the URL, which may hold a password
        raise InvalidInputError("the model server's URL cannot be read") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise InvalidInputError("the model server's URL must look like http://host:port/v1")
    return parsed


def auth_of(url: str) -> httpx.BasicAuth | None:
    """User and password of a URL, if it has them."""
    parsed = parse_address(url)
    return httpx.BasicAuth(parsed.username, parsed.password) if parsed.userinfo else None


def header_value(key: str) -> str:
    """A key as a header can carry it; files of secrets often end with a new line."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise InvalidInputError("a key of the model server has characters that a header cannot carry")
    return key


def readable(text: str) -> str:
    """Without lone surrogates, which JSON cannot hold."""
    return text.encode("utf-8", "replace").decode()
