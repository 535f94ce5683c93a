"""How far the scan of a source is, for those who ingest meanwhile what it has found."""

import asyncio
from uuid import UUID, uuid4


class Scanning:
    """One scan. Whoever takes up what it finds looks, takes, and waits for news if there was nothing to take.

    Attributes:
        id: what documents that it has seen are marked with.
        is_over: whether nothing more comes.
    """

    def __init__(self, scan: UUID | None = None) -> None:
        self.id = scan or uuid4()
        self.is_over = False
        self._news = asyncio.Event()
        self._work = asyncio.Event()
        self._all_found = asyncio.Event()

    @classmethod
    def past(cls, scan: UUID) -> "Scanning":
        """One that was over before."""
        scanning = cls(scan)
        scanning.finish()
        return scanning

    def look(self) -> bool:
        """Whether all is known that there will be; what comes from now on is news."""
        self._news.clear()
        return self.is_over

    async def wait_for_news(self) -> None:
        """Return when more was found than at the last look, or nothing more comes."""
        await self._news.wait()

    async def wait_for_work(self) -> None:
        """Return when there is something to ingest, or all is found."""
        await self._work.wait()

    async def wait_for_all(self) -> None:
        """Return when all is found."""
        await self._all_found.wait()

    def tell(self) -> None:
        """More is to be ingested."""
        self._work.set()
        self._news.set()

    def finish(self) -> None:
        """All is found."""
        self._work.set()
        self._all_found.set()

    def close(self) -> None:
        """All is found, and whoever may share it knows: who finds nothing to take from now on is done."""
        self.is_over = True
        self._news.set()
