"""Where a server sends those who ask it for a repository: git itself does not say."""

from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from app.domain.errors import DomainError
from app.sources.git_urls import GitUrl
from app.sources.web_client import WebClient

ASKED = "/info/refs"
UNKNOWN = "another place"


async def find_target(place: GitUrl, spool: Path, *, allow_private: bool) -> str:
    """The URL of the repository there; nothing of it is asked."""
    client = WebClient(allow_private=allow_private, per_second=1)
    file = spool / uuid4().hex
    try:
        answer = await client.get(f"{place.place}{ASKED}?service=git-upload-pack", into=file, max_bytes=1000)
    except DomainError:
        return UNKNOWN
    finally:
        await client.aclose()
        file.unlink(missing_ok=True)
    if answer.redirect is None:
        return UNKNOWN
    parts = urlsplit(answer.redirect)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.removesuffix(ASKED)}"
