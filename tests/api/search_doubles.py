# ruff: noqa: ARG002
"""A double of the service behind logs of searches."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from app.domain.searches import SearchLog, SearchLogCounts, SearchLogStatus

THEN = datetime(2026, 3, 1, tzinfo=UTC)


class FakeSearchLogs:
    """No collection has a log until one is set."""

    def __init__(self) -> None:
        self.log: SearchLog | None = None

    async def status(self, user_id: UUID, id_or_name: str) -> SearchLogStatus:
        """As it was set."""
        counts = SearchLogCounts()
        return SearchLogStatus(collection_id=uuid4(), collection_name=id_or_name, log=self.log, counts=counts)

    async def set(self, user_id: UUID, id_or_name: str, *, share: float, keep_days: int) -> SearchLogStatus:
        """Keep it."""
        self.log = SearchLog(share=share, keep_days=keep_days, full_today=False, created_at=THEN)
        return await self.status(user_id, id_or_name)

    async def unset(self, user_id: UUID, id_or_name: str) -> SearchLogStatus:
        """Forget it."""
        self.log = None
        return await self.status(user_id, id_or_name)
