"""Looks at pages: asks whether they have changed, and finds out what they are and where they lead."""

import asyncio
import os
from collections import OrderedDict
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from uuid import uuid4

import httpx

from app.domain.documents import Fetched, KnownDocument, Locator, ScannedDocument
from app.domain.errors import ProcessAnswerTooLargeError, ProcessDiedError, ProcessTimeoutError
from app.domain.failures import NetworkError
from app.domain.ports import Processes
from app.sources.web_answers import GONE, HTML, is_failing, name_kind
from app.sources.web_client import Answer, WebClient, ask_if_changed
from app.sources.web_links import read_links
from app.sources.web_urls import path_of

LINKS_SECONDS = 30.0
LINKS_BYTES = 4 * 1024 * 1024
"""Of a longer page the rest is not looked at for links; all of it is read as a document."""
KEPT_BYTES = 256 * 1024 * 1024
"""Pages that a scan has downloaded and that need not be downloaded again for reading, on this machine."""
BINARY = ("image/", "audio/", "video/", "font/")
SECOND = 1_000_000_000
CHILD_ENDED = (ProcessDiedError, ProcessTimeoutError, ProcessAnswerTooLargeError, MemoryError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a look at a URL has found.

    Attributes:
        document: None for what is none; ``skipped`` says why then.
        links: where it leads, in order; those of before if it could not be read now.
        redirect: where it has moved to.
        hides_links: whether it may lead to pages that nobody knows of now.
        status: what the server has answered, None if nothing.
    """

    url: str
    document: ScannedDocument | None = None
    skipped: str | None = None
    links: tuple[str, ...] = ()
    redirect: str | None = None
    hides_links: bool = False
    status: int | None = None


class KeptPages:
    """Files of pages that were downloaded for a scan, bounded in bytes; the oldest go first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: OrderedDict[str, tuple[Path, int, str | None, str]] = OrderedDict()
        self._bytes = 0

    def new_file(self) -> Path:
        """Where a page may be written."""
        return self._folder / uuid4().hex

    def keep(self, url: str, file: Path, size: int, version: str | None, suffix: str) -> None:
        """Keep a page, and drop others if these are too many bytes."""
        _, before, *_ = self._files.pop(url, (None, 0))
        self._files[url] = (file, size, version, suffix)
        self._bytes += size - before
        while self._bytes > KEPT_BYTES:
            _, (oldest, freed, *_) = self._files.popitem(last=False)
            self._bytes -= freed
            oldest.unlink(missing_ok=True)

    def take(self, url: str, version: str | None, to: Path) -> Fetched | None:
        """Move the file of a page of this version to another place, if it is there."""
        if url not in self._files:
            return None
        file, size, kept, suffix = self._files.pop(url)
        self._bytes -= size
        if kept != version:
            file.unlink(missing_ok=True)
            return None
        file.rename(to)
        return Fetched(path=str(to), suffix=suffix)


class PageReader:
    """Asks for pages one by one.

    Args:
        wants_links: whether it matters where pages lead.
    """

    def __init__(
        self, client: WebClient, kept: KeptPages, processes: Processes, *, max_bytes: int, wants_links: bool
    ) -> None:
        self._client = client
        self._kept = kept
        self._processes = processes
        self._max_bytes = max_bytes
        self._wants_links = wants_links

    async def look_at(self, url: str, known: KnownDocument | None) -> Page:
        """What is there now.

        Raises:
            AddressNotAllowedError, CertificateError: which no other page of the site would not get.
        """
        may_ask = known is not None and (not self._wants_links or known.links is not None)
        file = self._kept.new_file()
        try:
            answer = await self._client.get(
                url,
                into=file,
                max_bytes=self._max_bytes,
                headers=ask_if_changed(known.etag) if known is not None and may_ask else {},
            )
        except NetworkError as error:
            return self._failed(url, known, "fetch_failed", error.message, status=None)
        if answer.status == httpx.codes.NOT_MODIFIED and known is not None:
            return _unchanged(url, known)
        if answer.redirect is not None:
            return Page(url=url, redirect=answer.redirect, skipped="redirects", status=answer.status)
        if answer.is_too_large:
            message = f"the page has more than {self._max_bytes} bytes"
            return self._failed(url, known, "document_too_large", message, status=answer.status)
        if answer.digest is None:
            return self._refused(url, known, answer.status)
        return await self._read(url, answer, file)

    def _refused(self, url: str, known: KnownDocument | None, status: int) -> Page:
        if status in GONE:
            return Page(url=url, skipped="broken_links", status=status)
        code = "fetch_failed" if is_failing(status) else "unreadable_file"
        return self._failed(url, known, code, f"the server answers {status}", status=status)

    def _failed(self, url: str, known: KnownDocument | None, code: str, message: str, *, status: int | None) -> Page:
        """An error of this page; where it led before it may lead again."""
        document = ScannedDocument(
            uri=url,
            path=path_of(url),
            locator=Locator(path=url),
            size=0 if known is None else known.size,
            modified_ns=0 if known is None else known.modified_ns,
            etag=None if known is None else known.etag,
            links=None if known is None else known.links,
            error_code=code,
            error_message=message,
        )
        links = None if known is None else known.links
        hides = self._wants_links and links is None and code != "document_too_large"
        return Page(url=url, document=document, links=links or (), hides_links=hides, status=status)

    async def _read(self, url: str, answer: Answer, file: Path) -> Page:
        """A page that came."""
        kind = answer.kind
        if kind.startswith(BINARY):
            await asyncio.to_thread(file.unlink, missing_ok=True)
            return Page(url=url, skipped="binary", status=answer.status)
        links: tuple[str, ...] = ()
        is_wanted, hides = True, False
        if self._wants_links and (kind in HTML or not kind):
            try:
                links, is_wanted = await self._processes.run(
                    read_links, os.fspath(file), LINKS_BYTES, url, timeout_seconds=LINKS_SECONDS
                )
            except CHILD_ENDED:
                # it may be read better as a document
                hides = True
        if not is_wanted:
            await asyncio.to_thread(file.unlink, missing_ok=True)
            return Page(url=url, skipped="noindex", links=links, status=answer.status)
        size = answer.size or 0
        self._kept.keep(url, file, size, answer.version, name_kind(answer))
        document = ScannedDocument(
            uri=url,
            path=path_of(url),
            locator=Locator(path=url),
            size=size,
            modified_ns=_read_time(answer.headers.get("last-modified")),
            content_hash=answer.digest,
            etag=answer.version,
            links=links if self._wants_links and not hides else None,
        )
        return Page(url=url, document=document, links=links, hides_links=hides, status=answer.status)


def _unchanged(url: str, known: KnownDocument) -> Page:
    document = ScannedDocument(
        uri=url,
        path=path_of(url),
        locator=Locator(path=url),
        size=known.size,
        modified_ns=known.modified_ns,
        etag=known.etag,
        links=known.links,
    )
    return Page(url=url, document=document, links=known.links or (), status=httpx.codes.NOT_MODIFIED)


def _read_time(header: str | None) -> int:
    """Nanoseconds of a ``Last-Modified``; 0 without a good one."""
    try:
        return max(0, int(parsedate_to_datetime(header or "").timestamp())) * SECOND
    except (ValueError, OverflowError, TypeError):
        return 0
