"""Reads the manifest page by page, each in a transaction of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from app.db.database import Database
from app.db.projected import ProjectedRepository
from app.domain.collections import Generation


class _Row(Protocol):
    @property
    def id(self) -> UUID: ...


Row = TypeVar("Row", bound=_Row)


async def stream_pages(
    database: Database,
    generation: Generation,
    list_page: Callable[[ProjectedRepository, UUID | None], Awaitable[Sequence[Row]]],
    *,
    limit: int,
) -> AsyncIterator[Sequence[Row]]:
    """Pages in the order of ids; ``list_page`` gives the ``limit`` rows after an id, fewer of them at the end."""
    after: UUID | None = None
    while True:
        async with database.begin() as connection:
            page = await list_page(ProjectedRepository(connection, generation.collection_id), after)
        yield page
        if len(page) < limit:
            return
        after = page[-1].id
