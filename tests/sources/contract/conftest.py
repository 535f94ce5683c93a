"""Each place, opened and empty."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from app.processes.pool import ProcessPool
from tests.sources.contract.places import DirectoryPlace, GitPlace, ImapPlace, MemoryPlace, Place, UploadPlace, WebPlace
from tests.sources.git_host import GitHost
from tests.sources.mailbox import Mailboxes
from tests.sources.site import Site

OpenPlace = Callable[[Path], AbstractAsyncContextManager[Place]]


@asynccontextmanager
async def open_directory(folder: Path) -> AsyncIterator[Place]:
    """A folder, and a process for its archives."""
    pool = ProcessPool(1, memory_bytes=2**32)
    try:
        root = folder / "root"
        root.mkdir()
        yield DirectoryPlace(root, pool)
    finally:
        await pool.aclose()


@asynccontextmanager
async def open_uploads(folder: Path) -> AsyncIterator[Place]:
    """A folder of uploads, and a process for archives."""
    pool = ProcessPool(1, memory_bytes=2**32)
    try:
        yield UploadPlace(folder / "uploads", pool)
    finally:
        await pool.aclose()


def web_opener(*, has_sitemap: bool) -> OpenPlace:
    """Opens a site over a real socket."""

    @asynccontextmanager
    async def open_web(folder: Path) -> AsyncIterator[Place]:
        pool = ProcessPool(1, memory_bytes=2**32)
        try:
            with Site().running() as site:
                yield WebPlace(site, folder / "kept", pool, has_sitemap=has_sitemap)
        finally:
            await pool.aclose()

    return open_web


@asynccontextmanager
async def open_memory(folder: Path) -> AsyncIterator[Place]:
    """A folder in memory."""
    yield MemoryPlace()


@asynccontextmanager
async def open_imap(folder: Path) -> AsyncIterator[Place]:
    """A mailbox over a real socket."""
    async with Mailboxes().running() as server:
        yield ImapPlace(server)


@asynccontextmanager
async def open_git(folder: Path) -> AsyncIterator[Place]:
    """A repository over a real socket."""
    with GitHost(folder / "served").running() as host:
        yield GitPlace(host, folder / "kept")


PLACES: dict[str, OpenPlace] = {
    "directory": open_directory,
    "web": web_opener(has_sitemap=False),
    "sitemap": web_opener(has_sitemap=True),
    "memory": open_memory,
    "imap": open_imap,
    "uploads": open_uploads,
    "git": open_git,
}


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """One place after the other."""
    async with PLACES[request.param](tmp_path) as opened:
        yield opened
