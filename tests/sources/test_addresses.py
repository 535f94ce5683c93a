"""Which addresses a server may be sent to."""

import pytest

from app.domain.errors import AddressNotAllowedError
from app.domain.failures import NetworkError
from app.sources.addresses import is_public, resolve_allowed


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.10", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.100.100.200", "168.63.129.16", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
        "::1", "::", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1", "::127.0.0.1",
    ],
)  # fmt: skip
def test_an_address_inside_is_not_public(address: str) -> None:
    """Loopback, private, link-local, metadata, multicast, reserved; also wrapped into IPv6."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    """Also as IPv4 in IPv6."""
    assert is_public(address)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "127.1", "::1"])
async def test_a_name_of_this_machine_is_refused_however_it_is_written(host: str) -> None:
    """What the system makes of it is judged, not its spelling."""
    with pytest.raises(AddressNotAllowedError):
        await resolve_allowed(host, 80, allow_private=False)


async def test_an_operator_may_allow_private_addresses() -> None:
    """Then the address is given as it is."""
    assert await resolve_allowed("127.0.0.1", 80, allow_private=True) == ["127.0.0.1"]


async def test_a_host_without_an_address_is_a_network_error() -> None:
    """It may be a moment of the name server."""
    with pytest.raises(NetworkError):
        await resolve_allowed("no-such-host.invalid", 80, allow_private=False)
