"""What a site lets robots read."""

import asyncio
from pathlib import Path
from uuid import uuid4

from protego import Protego

from app.domain.errors import SourceUnavailableError
from app.domain.failures import NetworkError
from app.sources.web_client import AGENT, WebClient
from app.sources.web_urls import origin_of

MOST_BYTES = 512 * 1024
LONGEST_DELAY_SECONDS = 30.0
NAME = AGENT.partition("/")[0]
SERVER_ERRORS = 500
TOO_MANY = 429


class Robots:
    """Reads ``robots.txt`` of each site once."""

    def __init__(self, client: WebClient, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._rules: dict[str, Protego] = {}

    async def allows(self, url: str) -> bool:
        """Whether a page may be read; the client goes as slowly as the site wants.

        Raises:
            SourceUnavailableError: if the site does not say, which forbids everything for now.
        """
        origin = origin_of(url)
        if origin not in self._rules:
            self._rules[origin] = rules = await self._load(origin)
            if delay := rules.crawl_delay(NAME):
                self._client.slow_down(min(delay, LONGEST_DELAY_SECONDS))
        return self._rules[origin].can_fetch(url, NAME)

    async def _load(self, origin: str) -> Protego:
        url, file = f"{origin}/robots.txt", self._folder / uuid4().hex
        try:
            for _ in range(5):
                answer = await self._client.get(url, into=file, max_bytes=MOST_BYTES)
                if answer.redirect is None:
                    break
                url = answer.redirect
        except NetworkError as error:
            raise SourceUnavailableError(origin) from error
        if answer.status >= SERVER_ERRORS or answer.status == TOO_MANY:
            raise SourceUnavailableError(f"{origin}/robots.txt")
        if answer.size is None:
            # no rules, or too many to be meant
            return Protego.parse("")
        return await asyncio.to_thread(_parse, file)


def _parse(file: Path) -> Protego:
    text = file.read_bytes().decode("utf-8", "replace")
    file.unlink()
    return Protego.parse(text)
