"""Which addresses of the network this server may be sent to."""

import asyncio
import ipaddress
import socket

from app.domain.errors import AddressNotAllowedError
from app.domain.failures import NetworkError

RESOLVE_SECONDS = 10.0
METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})
"""Services of clouds for their own machines that have public addresses; the others are link-local or private."""
TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
"""IPv6 addresses that lead to the IPv4 address in their last four bytes."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(text: str) -> bool:
    """Whether an IP address is one of the internet: not of this machine, this network or a cloud's own services."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return all(
        one.is_global and not one.is_multicast and not one.is_reserved and one not in METADATA
        for one in _list_ends(address)
    )


def _list_ends(address: Address) -> list[Address]:
    """The address, and the IPv4 address that a tunnel or a translation leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return [*address.teredo]
    if any(address in network for network in TRANSLATED):
        return [ipaddress.IPv4Address(address.packed[-4:])]
    return [address]


async def resolve_allowed(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The IP addresses of a host, to connect to without asking again.

    Raises:
        AddressNotAllowedError: if any of them is not public, for a name may lead to several.
        NetworkError: if the host has no address.
    """
    addresses = await _resolve(host, port)
    if not allow_private and not all(is_public(address) for address in addresses):
        raise AddressNotAllowedError(host)
    return addresses


async def _resolve(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise NetworkError(f"the host {host} has no address; check the URL and the name server") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
