"""Where a request comes from."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope

Network = IPv4Network | IPv6Network
MOST_HOPS = 20


def trusted_networks(proxies: Sequence[str]) -> tuple[Network, ...]:
    """Networks of a setting; an address is a network of one."""
    return tuple(ip_network(proxy, strict=False) for proxy in proxies)


def client_address(scope: Scope, trusted: Sequence[Network]) -> str | None:
    """The address of the client: of the connection, or what a trusted proxy at its other end says.

    ``X-Forwarded-For`` is read from its end: each proxy adds whom it was called by, and what stands before the first
    one that is not trusted may be anybody's invention.
    """
    client = scope.get("client")
    address = _parse(client[0]) if client else None
    if address is None or not trusted:
        return address
    said = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
    for hop in reversed(said[-MOST_HOPS:]):
        if not any(ip_address(address) in network for network in trusted):
            return address
        before = _parse(hop)
        if before is None:
            return address
        address = before
    return address


def _parse(text: str) -> str | None:
    """An address as it is usually written; None if it is none."""
    try:
        return str(ip_address(text.strip().strip("[]").partition("%")[0]))
    except ValueError:
        return None
