"""cleanup_projections: projections nobody makes any more, and folders that no row knows."""

import asyncio
import time
from collections.abc import Mapping
from itertools import islice
from typing import Any

import structlog

from app.db.database import Database
from app.db.leftovers import read_marker
from app.db.products import end_stale
from app.db.projections import ProjectionRepository
from app.domain.periodic import Round
from app.projection.folders import Leftover, ProjectionFolder, remove_tree

log = structlog.get_logger(__name__)

SETTLING_SECONDS = 60.0
"""A projection is created a moment before its operation is seen by others."""
PER_PAGE = 200


class StaleProjections:
    """Rows are the truth: a folder goes once no row has known it for long.

    Args:
        folder: None if this process has none; then only rows are ended.
        grace_seconds: how long ago a folder must have been written last, so that a database that was brought back from
            a backup has time to be told from one that has lost nothing.
    """

    def __init__(self, database: Database, folder: ProjectionFolder | None, *, grace_seconds: float) -> None:
        self._database = database
        self._folder = folder
        self._grace_seconds = grace_seconds

    async def clean(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        async with self._database.begin() as connection:
            ended = await end_stale(
                connection, "projections", older_than_seconds=SETTLING_SECONDS, dry_run=given.dry_run
            )
            marker = await read_marker(connection)
        removed = 0 if self._folder is None else await self._remove(self._folder, marker, dry_run=given.dry_run)
        return {"projections": ended, "folders": removed}

    async def _remove(self, folder: ProjectionFolder, marker: str, *, dry_run: bool) -> int:
        found, total = folder.list_all(marker), 0
        while page := await asyncio.to_thread(lambda: list(islice(found, PER_PAGE))):
            async with self._database.begin() as connection:
                known = await ProjectionRepository(connection).find_known([one.projection_id for one in page])
            before = time.time() - self._grace_seconds
            for one in page:
                if one.modified < before and _is_leftover(one, known):
                    total += 1
                    if not dry_run:
                        await self._remove_one(one)
        return total

    async def _remove_one(self, one: Leftover) -> None:
        try:
            await asyncio.to_thread(remove_tree, one.path)
        except OSError as error:
            log.warning("projection_not_removed", error=type(error).__name__)


def _is_leftover(one: Leftover, known: Mapping[Any, str | None]) -> bool:
    if one.projection_id not in known:
        return True
    return one.attempt is not None and known[one.projection_id] != one.attempt
