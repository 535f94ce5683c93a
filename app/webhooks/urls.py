"""Which URLs webhooks may have."""

from urllib.parse import urlsplit

from app.domain.addresses import is_allowed, parse_address
from app.domain.webhooks import WebhookAddressError, WebhookUrlError


def check_url(url: str, *, allow_private: bool) -> None:
    """Refuse what can be seen to be wrong without asking for the host's address, which is checked at each attempt.

    Raises:
        WebhookUrlError: if it is no plain ``http`` or ``https`` URL.
        WebhookAddressError: if its host is this machine or an address that is not allowed.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
        host.encode("idna")
    except ValueError:
        raise WebhookUrlError("this is no URL; see whether its host is a name and its port a number") from None
    if parts.scheme not in ("http", "https") or not host:
        raise WebhookUrlError("a webhook's URL begins with https:// or http:// and the name of a host")
    if parts.username is not None or parts.password is not None:
        raise WebhookUrlError("a webhook's URL has no user and no password; verify the signature instead")
    if parts.fragment or any(character.isspace() or not character.isprintable() for character in url):
        raise WebhookUrlError("a webhook's URL has no fragment and no spaces")
    address = parse_address(host)
    if address is None:
        is_refused = not allow_private and (host == "localhost" or host.endswith(".localhost"))
    else:
        is_refused = not is_allowed(address, allow_private=allow_private)
    if is_refused:
        raise WebhookAddressError
