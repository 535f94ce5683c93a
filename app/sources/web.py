"""Pages of a site: those that links or a sitemap lead to."""

import asyncio
import re
import shutil
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from uuid import UUID, uuid4

import httpx

from app.domain.documents import Document, Fetched, Locator, ScannedDocument
from app.domain.errors import (
    SourceNotFoundError,
    SourceRefusesAccessError,
    SourceVanishedError,
)
from app.domain.ports import KnownDocuments, Processes
from app.sources.archives import archive_kind
from app.sources.fetching import fetch_each
from app.sources.globs import PathFilter
from app.sources.robots import Robots
from app.sources.sitemaps import SITEMAP_BYTES, SiteEntry, Sitemaps
from app.sources.walk import binary_suffixes
from app.sources.web_answers import describe_fetched, require_readable
from app.sources.web_client import MOST_HOPS, RETRY_SECONDS, WebClient
from app.sources.web_options import WebOptions
from app.sources.web_pages import KeptPages, Page, PageReader
from app.sources.web_urls import normalise, origin_of, path_of, suffix_of

SITEMAP = re.compile(r"/[^/?]*sitemap[^/?]*\.(?:xml|txt)(?:\.gz)?$", re.IGNORECASE)
MOST_ENTRIES = 200_000
"""Entries of sitemaps that are remembered in any case; globs may leave out most of them."""
PART = 100
LOOKS_AT_ONCE = 4
FRONTIER = 20
"""Links that are remembered for each page that may be read."""


class WebSource:
    """``DocumentSource`` over the pages of one site, from a page by links or from a sitemap.

    ``robots.txt``, ``nofollow`` and ``noindex`` are honoured. A page is asked for with what is known of its version, so
    one that has not changed is not sent. What is left out is counted in ``skipped`` (``robots``, ``noindex``,
    ``filtered``, ``binary``, ``archives``, ``other_site``, ``redirects``, ``broken_links``, ``page_limit``).

    Args:
        url: of a page or a sitemap, without a login.
        include: globs over the path of pages; links are followed through pages that they leave out.
        exclude: the same; what it matches is not asked for.
        options: how far and how fast.
        login: headers for the site itself.
        spool: the folder that pages lie in until they are read.
        known: what the last scan has found.
        max_bytes: larger pages come with the error ``document_too_large``.
        allow_private: whether addresses that are not public may be asked.
        retry_seconds: how long it waits before it asks again where nothing good came; doubles.

    Raises:
        UnsupportedSourceError: if it is no URL of a page.
        InvalidInputError: if a glob cannot be used.
    """

    is_local = False
    can_fetch_while_scanning = True

    def __init__(
        self,
        url: str,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        options: WebOptions | None = None,
        login: Mapping[str, str] | None = None,
        spool: Path,
        known: KnownDocuments,
        processes: Processes,
        max_bytes: int,
        allow_private: bool = False,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._url = normalise(url)
        self._options = options or WebOptions()
        self._choice = PathFilter(include, exclude)
        self._is_sitemap = SITEMAP.search(self._url) is not None
        self._known = known
        self._processes = processes
        self._max_bytes = max_bytes
        self._folder = spool / f"web-{uuid4().hex}"
        self._client = WebClient(
            allow_private=allow_private,
            per_second=self._options.per_second,
            login=login,
            login_origin=origin_of(self._url),
            retry_seconds=retry_seconds,
        )
        self._kept = KeptPages(self._folder)
        self._robots = Robots(self._client, self._folder)
        self._reader = PageReader(
            self._client, self._kept, processes, max_bytes=max_bytes, wants_links=not self._is_sitemap
        )
        self._binary = binary_suffixes(reads_pictures=False)
        self._skipped: Counter[str] = Counter()
        self._unseen: list[str] = []

    @property
    def url(self) -> str:
        """Where it begins, without a login."""
        return self._url

    @property
    def skipped(self) -> Mapping[str, int]:
        """What the last scan has left out, by reason."""
        return self._skipped

    @property
    def unseen(self) -> Sequence[str]:
        """See the port: the whole site, if anything that leads to pages could not be read."""
        return self._unseen

    async def aclose(self) -> None:
        """Close connections and remove what was kept."""
        await self._client.aclose()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    # --- scan -----------------------------------------------------------------------------------

    async def scan(self) -> AsyncGenerator[list[ScannedDocument], None]:
        """See the port."""
        self._skipped, self._unseen = Counter(), []
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        pages = self._scan_sitemaps() if self._is_sitemap else self._crawl()
        async with aclosing(pages):
            async for documents in pages:
                if documents:
                    yield documents

    async def _enter(self) -> Page:
        """The first page, wherever it has moved to."""
        url = self._url
        for _ in range(MOST_HOPS):
            if not await self._robots.allows(url):
                raise SourceRefusesAccessError(f"the robots.txt of {origin_of(url)} forbids to read {path_of(url)}")
            known = await self._known.find([url])
            page = await self._reader.look_at(url, known.get(url))
            if page.redirect is None:
                require_readable(url, page.status)
                return page
            url = page.redirect
        raise SourceNotFoundError(f"{self._url}, which redirects again and again")

    async def _crawl(self) -> AsyncGenerator[list[ScannedDocument], None]:
        """Level by level, each in the order in which its links were found."""
        first = await self._enter()
        origin = origin_of(first.url)
        below = first.url.rpartition("/")[0] + "/" if self._options.stay_below else f"{origin}/"
        seen = {self._url, first.url}
        level, left = await self._follow_all([first], below, seen), self._options.max_pages - 1
        yield self._take(first, origin)
        for _ in range(self._options.depth):
            following: list[str] = []
            urls = iter(level[: max(left, 0)])
            if len(level) > left:
                self._limit(origin, len(level) - max(left, 0))
            left -= len(level)
            while part := list(islice(urls, PART)):
                pages = await self._look_at(part)
                following += await self._follow_all(pages, below, seen)
                yield [document for page in pages for document in self._take(page, origin)]
            level = following

    def _limit(self, origin: str, number: int) -> None:
        """Pages beyond the limit may be documents of before, in whatever order they come now."""
        self._skipped["page_limit"] += number
        self._hide(origin)

    def _hide(self, origin: str) -> None:
        if f"{origin}/" not in self._unseen:
            self._unseen.append(f"{origin}/")

    def _take(self, page: Page, origin: str) -> list[ScannedDocument]:
        """The document of a page, if it is one and wanted."""
        if page.hides_links:
            self._hide(origin)
        if page.document is None:
            self._skipped[page.skipped or "special"] += 1
            return []
        if not self._choice.wants(page.document.path):
            self._skipped["filtered"] += 1
            return []
        return [page.document]

    async def _follow_all(self, pages: Sequence[Page], below: str, seen: set[str]) -> list[str]:
        """Links of pages in order; in a thread, for they may be very many."""
        return await asyncio.to_thread(lambda: [link for page in pages for link in self._follow(page, below, seen)])

    def _follow(self, page: Page, below: str, seen: set[str]) -> list[str]:
        """Links of a page that nobody has followed yet and that belong to the site."""
        found = []
        for link in [page.redirect] if page.redirect else page.links:
            if link in seen:
                continue
            if len(seen) >= self._options.max_pages * FRONTIER:
                self._limit(origin_of(below), 1)
                break
            seen.add(link)
            if not link.startswith(below):
                self._skipped["other_site"] += 1
            elif self._may_be_page(link):
                found.append(link)
        return found

    def _may_be_page(self, url: str) -> bool:
        """Whether to ask for it; said by its name alone."""
        reason = None
        if self._choice.excludes(path_of(url)):
            reason = "filtered"
        elif archive_kind(url.partition("?")[0]) is not None:
            reason = "archives"
        elif suffix_of(url) in self._binary:
            reason = "binary"
        if reason is not None:
            self._skipped[reason] += 1
        return reason is None

    async def _look_at(self, urls: Sequence[str]) -> list[Page]:
        """Pages in the order of their URLs; those that robots may not read are counted."""
        known = await self._known.find(urls)
        allowed = [url for url in urls if await self._robots.allows(url)]
        if forbidden := len(urls) - len(allowed):
            self._skipped["robots"] += forbidden
        pages: dict[str, Page] = {}
        waiting = iter(allowed)

        async def carry() -> None:
            for url in waiting:
                pages[url] = await self._reader.look_at(url, known.get(url))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(LOOKS_AT_ONCE):
                    group.create_task(carry())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        found = [pages[url] for url in allowed]
        if any(page.document is not None and page.document.error_code == "fetch_failed" for page in found):
            # a site that is down has no documents with errors
            await self.require_present()
        return found

    async def _scan_sitemaps(self) -> AsyncGenerator[list[ScannedDocument], None]:
        """Pages in the order of the sitemaps."""
        if not await self._robots.allows(self._url):
            raise SourceRefusesAccessError(f"the robots.txt of {origin_of(self._url)} forbids to read its sitemap")
        origin, left = origin_of(self._url), self._options.max_pages
        most_urls = max(MOST_ENTRIES, 2 * self._options.max_pages)
        sitemaps = Sitemaps(self._url, self._client, self._processes, self._folder, most_urls=most_urls)
        async with aclosing(sitemaps.stream_entries()) as stream:
            async for entries in stream:
                if not left:
                    # whether there are more pages in them is not looked at
                    self._hide(origin)
                    break
                wanted = await asyncio.to_thread(self._choose, entries, origin)
                if len(wanted) > left:
                    self._limit(origin, len(wanted) - left)
                for start in range(0, min(left, len(wanted)), PART):
                    yield await self._describe_entries(wanted[start : min(start + PART, left)], origin)
                left = max(0, left - len(wanted))
        if sitemaps.broken:
            self._skipped["broken_links"] += sitemaps.broken
            self._hide(origin)

    def _choose(self, entries: Sequence[SiteEntry], origin: str) -> list[SiteEntry]:
        """Entries that belong to the source; runs in a thread, for they may be very many."""
        return [entry for entry in entries if self._belongs(entry[0], origin)]

    def _belongs(self, url: str, origin: str) -> bool:
        if origin_of(url) != origin:
            self._skipped["other_site"] += 1
            return False
        if not self._may_be_page(url):
            return False
        if not self._choice.wants(path_of(url)):
            self._skipped["filtered"] += 1
            return False
        return True

    async def _describe_entries(self, entries: Sequence[SiteEntry], origin: str) -> list[ScannedDocument]:
        """Pages whose time the sitemap says are not asked for."""
        asked = {page.url: page for page in await self._look_at([url for url, modified in entries if not modified])}
        moved = [page.redirect for page in asked.values() if page.redirect is not None]
        listed = {url for url, _ in entries}
        targets = [url for url in dict.fromkeys(moved) if url not in listed and self._belongs(url, origin)]
        documents = [document for page in await self._look_at(targets) for document in self._take(page, origin)]
        for url, modified in entries:
            if url in asked:
                documents += self._take(asked[url], origin)
            elif modified and await self._robots.allows(url):
                documents.append(
                    ScannedDocument(
                        uri=url,
                        path=path_of(url),
                        locator=Locator(path=url),
                        size=0,
                        modified_ns=0,
                        etag=f"lastmod {modified}",
                    )
                )
            elif modified:
                self._skipped["robots"] += 1
        return documents

    # --- fetch ----------------------------------------------------------------------------------

    async def fetch(self, documents: Sequence[Document], into: Path) -> Mapping[UUID, Fetched]:
        """See the port."""
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        # on another machine than the scan's, the site has not been asked yet how fast it may be read
        await self._robots.allows(self._url)
        return await fetch_each(documents, into, self._fetch_one)

    async def _fetch_one(self, document: Document, file: Path) -> Fetched:
        kept = self._kept.take(document.uri, document.etag, file)
        if kept is not None:
            return kept
        answer = await self._client.follow(document.uri, into=file, max_bytes=self._max_bytes)
        return describe_fetched(answer, file, max_bytes=self._max_bytes)

    async def require_present(self) -> None:
        """See the port."""
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        file = self._kept.new_file()
        answer = await self._client.follow(self._url, into=file, max_bytes=SITEMAP_BYTES)
        await asyncio.to_thread(file.unlink, missing_ok=True)
        if answer is None or (answer.status >= httpx.codes.BAD_REQUEST):
            raise SourceVanishedError(self._url)
