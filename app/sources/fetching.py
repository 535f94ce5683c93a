"""Fetches several documents at once into a folder, as many as it is to hold."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from uuid import UUID

from app.domain.documents import Document, Fetched

AT_ONCE = 4
FULL_BYTES = 32 * 1024 * 1024
"""A folder that holds so much gets no further document; the rest is asked for again."""

FetchOne = Callable[[Document, Path], Awaitable[Fetched]]


async def fetch_each(
    documents: Sequence[Document], into: Path, fetch: FetchOne, *, at_once: int = AT_ONCE
) -> Mapping[UUID, Fetched]:
    """What ``DocumentSource.fetch`` answers, with ``fetch`` for one document and the file it is to go to.

    Raises:
        DomainError: what ``fetch`` raises; the others are stopped.
    """
    await asyncio.to_thread(into.mkdir, parents=True, mode=0o700)
    fetched: dict[UUID, Fetched] = {}
    waiting = iter(documents)
    held = 0

    async def carry() -> None:
        nonlocal held
        for document in waiting:
            file = into / document.id.hex
            fetched[document.id] = answer = await fetch(document, file)
            if answer.path is not None:
                status = await asyncio.to_thread(file.stat)
                held += status.st_size
            if held >= FULL_BYTES:
                return

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(documents))):
                group.create_task(carry())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return fetched
