"""Opens files of the spool off the event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any


@asynccontextmanager
async def opened(path: Path, mode: str) -> AsyncIterator[IO[bytes]]:
    """A binary file, closed at the end, also if whoever opens it is cancelled while it is being opened."""
    opening = asyncio.ensure_future(asyncio.to_thread(path.open, mode))
    try:
        file: IO[Any] = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise
    with file:
        yield file


def _close(opening: "asyncio.Future[IO[Any]]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
