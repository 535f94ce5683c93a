"""What a server's answer means for a document, and for a whole source."""

from pathlib import Path

import httpx

from app.domain.documents import Fetched
from app.domain.errors import SourceNotFoundError, SourceRefusesAccessError, SourceUnavailableError
from app.sources.web_client import TRY_AGAIN, Answer

GONE = frozenset({404, 410})
HTML = frozenset({"text/html", "application/xhtml+xml"})
REFUSALS = frozenset({401, 403, 407, 451})


def is_failing(status: int) -> bool:
    """Whether a server says that it cannot now, which may pass."""
    return status in TRY_AGAIN or status >= httpx.codes.INTERNAL_SERVER_ERROR


def name_kind(answer: Answer) -> str:
    """``.html`` of a page whose URL does not end like one; what other documents are is seen in them."""
    return ".html" if answer.kind in HTML and not answer.url.lower().endswith((".html", ".htm", ".xhtml")) else ""


def describe_fetched(answer: Answer | None, file: Path, *, max_bytes: int) -> Fetched:
    """The file of a page, or why there is none."""
    if answer is None:
        return Fetched(error_code="fetch_failed", error_message="the server does not answer")
    if answer.digest is not None:
        return Fetched(path=str(file), suffix=name_kind(answer))
    message = f"the server answers {answer.status}"
    if answer.is_too_large:
        code, message = "document_too_large", f"the page has more than {max_bytes} bytes"
    elif answer.redirect is not None:
        code, message = "redirect_outside_source", "the page has moved to another site"
    elif answer.status in GONE:
        code, message = "file_vanished", "the page is not there any more"
    elif is_failing(answer.status):
        code = "fetch_failed"
    else:
        code = "unreadable_file"
    return Fetched(error_code=code, error_message=message)


def require_readable(url: str, status: int | None) -> None:
    """Raise unless a source's first page or sitemap can be read.

    Raises:
        SourceNotFoundError, SourceRefusesAccessError, SourceUnavailableError: by what the server answers.
    """
    if status is None or is_failing(status):
        raise SourceUnavailableError(url)
    if status in REFUSALS:
        raise SourceRefusesAccessError(f"{url} answers {status}; check the login of this source")
    if status >= httpx.codes.BAD_REQUEST:
        raise SourceNotFoundError(url)
