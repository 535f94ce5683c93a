"""What the words of git amount to. It ends with the same status whatever failed, so its English is all there is."""

import re
from collections.abc import Callable

from app.domain.errors import (
    DomainError,
    SourceHostUnknownError,
    SourceNotFoundError,
    SourceRefusesAccessError,
    SourceUnavailableError,
)
from app.domain.failures import CertificateError, NetworkError
from app.sources.git_urls import GitUrl

MISSING = re.compile(r"not our ref ([0-9a-f]{40,64})")
"""An object that the server does not have, or not any more."""
NOT_BY_ID = re.compile(r"[Ss]erver does not allow request for unadvertised object|no such remote ref [0-9a-f]{40}")
"""A server that sends only what its branches name."""
REDIRECTED = re.compile(r"returned error: 30[12378]")


def _refused(place: GitUrl) -> DomainError:
    return SourceRefusesAccessError(
        f"{place.place} does not exist, or refuses the login; give it with `vecloom sources change`"
    )


EXPLAINED: tuple[tuple[str, Callable[[GitUrl], DomainError]], ...] = (
    (
        r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED",
        lambda at: SourceHostUnknownError(at.host),
    ),
    (r"could not read (Username|Password)|Authentication failed|returned error: 40[137]", _refused),
    (r"Permission denied \(|Too many authentication failures|Load key .*:|no mutual signature", _refused),
    (
        r"SSL certificate problem|certificate verification failed|certificate verify failed",
        lambda _: CertificateError(),
    ),
    (
        r"returned error: 4(04|10)|repository '.*' not found|[Rr]epository not found|not (a|appear to be a) git repo",
        lambda at: SourceNotFoundError(at.place),
    ),
    (
        r"Could not resolve|Failed to connect|Connection (refused|timed out|reset|closed)",
        lambda at: NetworkError(f"{at.host} does not answer"),
    ),
)


def explain(told: str, place: GitUrl) -> DomainError:
    """The error of a source; what is not known may be another way the next time."""
    for words, make in EXPLAINED:
        if re.search(words, told):
            return make(place)
    return SourceUnavailableError(place.place)
