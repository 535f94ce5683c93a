"""Which network addresses a server may be sent to by its users."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

NAT64 = IPv6Network("64:ff9b::/96")
LINK_LOCAL = (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"))
PRIVATE: tuple[IPv4Network | IPv6Network, ...] = (
    *(IPv4Network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")),
    IPv6Network("fc00::/7"),
)


def parse_address(text: str) -> Address | None:
    """The address of a text, which may have brackets or a zone around it; None if it is a name."""
    try:
        return ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None


def is_allowed(address: Address, *, allow_private: bool) -> bool:
    """Whether an address is one of the internet, or one of a private network where those are allowed.

    What cloud providers tell only their machines is at a link-local address, which is never allowed.
    """
    inner = unwrap(address)
    if inner.is_loopback:
        return allow_private
    if (
        inner.is_multicast
        or inner.is_unspecified
        or inner.is_reserved
        or any(inner in network for network in LINK_LOCAL)
    ):
        return False
    return inner.is_global or (allow_private and any(inner in network for network in PRIVATE))


def unwrap(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
