"""What the routes of searches call; part of ``app/api/services.py``."""

from typing import Protocol
from uuid import UUID

from app.domain.points import SearchAnswer, SearchFilter
from app.domain.search_settings import SearchSettings
from app.domain.searches import SearchLogStatus


class Search(Protocol):
    """Answers queries."""

    async def search(
        self,
        user_id: UUID,
        id_or_name: str,
        *,
        query: str,
        settings: SearchSettings,
        limit: int,
        filter: SearchFilter,  # noqa: A002 — the field's standard term
    ) -> SearchAnswer:
        """The best documents of a collection."""
        ...


class SearchLogs(Protocol):
    """Which collections have their searches written down. Everything raises CollectionNotFoundError."""

    async def status(self, user_id: UUID, id_or_name: str) -> SearchLogStatus:
        """How it stands."""
        ...

    async def set(self, user_id: UUID, id_or_name: str, *, share: float, keep_days: int) -> SearchLogStatus:
        """Begin, or change how."""
        ...

    async def unset(self, user_id: UUID, id_or_name: str) -> SearchLogStatus:
        """End, and delete what was written."""
        ...
