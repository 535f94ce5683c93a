"""Keeps in an operation's row what its watchers were told last."""

import asyncio
import time
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.domain.operations import Lease
from app.domain.ports import Reporter
from app.operations.attempts import Attempts

log = structlog.get_logger(__name__)

SNAPSHOT_SECONDS = 2.0
SAVE_SECONDS = 2.0


class SnapshotReporter:
    """Passes events on, and keeps the newest progress and what slows the operation down.

    ``operation_waiting {why_waiting}`` says what does, or None once it is over; without it, it is the limiting stage.
    """

    def __init__(self, inner: Reporter, attempts: Attempts, lease: Lease) -> None:
        self._inner = inner
        self._attempts = attempts
        self._lease = lease
        self._saved = 0.0
        self._newest: dict[str, Any] | None = None
        self._trouble: str | None = None
        self._limit: str | None = None

    async def send_update(self, type: str, data: dict[str, Any]) -> None:  # noqa: A002 — the envelope's own word
        """See the port."""
        await self._inner.send_update(type, data)
        if type == "operation_waiting":
            self._trouble = data["why_waiting"]
            await self._save(None)
        elif type.endswith("_progress") or type == "removing_documents":
            self._newest = data
            if time.monotonic() - self._saved > SNAPSHOT_SECONDS:
                self._saved = time.monotonic()
                await self.save_newest()

    async def save_newest(self) -> None:
        """Keep the newest progress if it is not kept yet."""
        data, self._newest = self._newest, None
        if data is not None:
            stage = data.get("limiting_stage")
            self._limit = f"limited by stage {stage}" if stage else None
            await self._save(data)

    async def _save(self, progress: dict[str, Any] | None) -> None:
        why = self._trouble or self._limit
        try:
            async with asyncio.timeout(SAVE_SECONDS):
                await self._attempts.save_progress(self._lease, progress, why_waiting=why)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            # whether the job can go on without Postgres is for the job to find out
            log.warning("snapshot_not_saved", error=type(error).__name__)
