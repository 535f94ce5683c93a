"""Where a request comes from."""

import pytest
from starlette.types import Scope

from app.api.origin import client_address, trusted_networks


def scope(client: str | None, *forwarded: str) -> Scope:
    """A request's scope."""
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"type": "http", "client": None if client is None else (client, 1), "headers": headers}


@pytest.mark.parametrize(
    ("client", "forwarded", "expected"),
    [
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["203.0.113.9, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["203.0.113.9", "192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", ["192.0.2.7, nonsense"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("192.0.2.8", ["203.0.113.9"], "192.0.2.8"),
        ("::1", ["[2001:db8::1]"], "2001:db8::1"),
        (None, ["192.0.2.7"], None),
    ],
)
def test_only_a_trusted_proxy_is_believed(client: str | None, forwarded: list[str], expected: str | None) -> None:
    """What a client or a stranger puts in front of the first address that is not trusted counts for nothing."""
    trusted = trusted_networks(["10.0.0.0/8", "::1"])

    assert client_address(scope(client, *forwarded), trusted) == expected


def test_without_a_setting_no_header_counts() -> None:
    """Anybody can send a header."""
    assert client_address(scope("127.0.0.1", "192.0.2.7"), ()) == "127.0.0.1"
