"""Each place, opened and empty."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from app.processes.pool import ProcessPool
from tests.sources.contract.places import DirectoryPlace, Place

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


PLACES: dict[str, OpenPlace] = {"directory": open_directory}


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """One place after the other."""
    async with PLACES[request.param](tmp_path) as opened:
        yield opened
