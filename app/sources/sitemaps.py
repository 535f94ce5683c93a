"""Sitemaps: lists of pages, and lists of such lists."""

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import uuid4

from app.domain.errors import SourceRefusesAccessError
from app.domain.ports import Processes
from app.sources.web_answers import require_readable
from app.sources.web_client import WebClient
from app.sources.web_links import read_sitemap
from app.sources.web_pages import CHILD_ENDED

SITEMAP_BYTES = 64 * 1024 * 1024
SITEMAP_SECONDS = 60.0
MOST_SITEMAPS = 1000

SiteEntry = tuple[str, str | None]


class Sitemaps:
    """A sitemap and those that it lists; ``broken`` counts those of them that could not be, or were not read.

    Args:
        url: of the first one.
        client: which asks for them.
        processes: where they are read.
        folder: where they lie while they are.
        most_urls: how many URLs are remembered; when there are more, no further sitemap is read.
    """

    def __init__(self, url: str, client: WebClient, processes: Processes, folder: Path, *, most_urls: int) -> None:
        self.broken = 0
        self._url = url
        self._client = client
        self._processes = processes
        self._folder = folder
        self._most_urls = most_urls

    async def stream_entries(self) -> AsyncGenerator[list[SiteEntry], None]:
        """URLs of pages, each once, in order, with the time of their last change where it is said.

        Raises:
            SourceNotFoundError, SourceRefusesAccessError, SourceUnavailableError: if the first one cannot be read.
        """
        maps, seen = [self._url], {self._url}
        read = 0
        while maps:
            if len(seen) > self._most_urls:
                self.broken += len(maps)
                return
            is_index, entries = await self._load(maps.pop(0))
            read += 1
            fresh = []
            for url, modified in entries:
                if url not in seen:
                    seen.add(url)
                    fresh.append((url, modified))
            if not is_index:
                yield fresh
                continue
            room = max(0, MOST_SITEMAPS - read - len(maps))
            self.broken += max(0, len(fresh) - room)
            maps += [url for url, _ in fresh[:room]]

    async def _load(self, url: str) -> tuple[bool, list[SiteEntry]]:
        file = self._folder / uuid4().hex
        try:
            answer = await self._client.follow(url, into=file, max_bytes=SITEMAP_BYTES)
            if url == self._url:
                require_readable(url, None if answer is None else answer.status)
            if answer is not None and answer.digest is not None:
                is_index, entries = await self._processes.run(
                    read_sitemap, os.fspath(file), SITEMAP_BYTES, timeout_seconds=SITEMAP_SECONDS
                )
                return is_index, entries
        except CHILD_ENDED as error:
            if url == self._url:
                raise SourceRefusesAccessError(f"the sitemap {url} cannot be read: it is too large") from error
        finally:
            await asyncio.to_thread(file.unlink, missing_ok=True)
        self.broken += 1
        return False, []
