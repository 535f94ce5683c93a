# ruff: noqa: ARG002
"""A double of the service behind continuous sync, which remembers what it was asked."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from app.domain.sync_errors import SyncNotSetError, SyncRunNotFoundError
from app.domain.syncs import (
    AppendMode,
    SyncRun,
    SyncRunState,
    SyncSettings,
    SyncStatus,
    Trigger,
)

THEN = datetime(2026, 3, 1, tzinfo=UTC)


class FakeSyncs:
    """Every collection has one source and no settings until some are set."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.settings: SyncSettings | None = None

    async def status(self, user_id: UUID, id_or_name: str) -> SyncStatus:
        """As it was set."""
        return SyncStatus(
            collection_id=uuid4(),
            collection_name=id_or_name,
            settings=self.settings,
            why_waiting=None,
            running=None,
            last_run=None,
            sources=(),
        )

    async def set(
        self, user_id: UUID, id_or_name: str, *, interval_seconds: int, mode: AppendMode, paused: bool | None
    ) -> SyncStatus:
        """Keep it."""
        self.settings = SyncSettings(
            collection_id=uuid4(),
            interval_seconds=interval_seconds,
            mode=mode,
            paused_at=THEN if paused else None,
            next_due=THEN,
        )
        return await self.status(user_id, id_or_name)

    async def unset(self, user_id: UUID, id_or_name: str) -> SyncStatus:
        """Forget it."""
        self.settings = None
        return await self.status(user_id, id_or_name)

    async def hold(self, user_id: UUID, id_or_name: str, *, paused: bool) -> SyncStatus:
        """Only what was set."""
        if self.settings is None:
            raise SyncNotSetError(id_or_name)
        self.asked = {"paused": paused}
        return await self.status(user_id, id_or_name)

    async def run(self, user_id: UUID, id_or_name: str, *, confirm_removals: bool) -> SyncRun:
        """A run without sources."""
        self.asked = {"confirm_removals": confirm_removals}
        return SyncRun(
            id=uuid4(),
            collection_id=uuid4(),
            trigger=Trigger.MANUAL,
            mode=AppendMode.FULL,
            confirm_removals=confirm_removals,
            state=SyncRunState.RUNNING,
            started_at=THEN,
            finished_at=None,
            sources=(),
        )

    async def list_runs(self, user_id: UUID, id_or_name: str, *, limit: int) -> Sequence[SyncRun]:
        """None."""
        self.asked = {"limit": limit}
        return []

    async def get_run(self, user_id: UUID, id_or_name: str, run_id: UUID) -> SyncRun:
        """No such run."""
        raise SyncRunNotFoundError(run_id)
