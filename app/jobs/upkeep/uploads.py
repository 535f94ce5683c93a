"""cleanup_uploads: uploads that nobody has finished, and files that no row knows."""

import asyncio
from collections.abc import Mapping
from itertools import islice
from typing import Any

from app.db.database import Database
from app.db.leftovers import read_marker
from app.db.uploads import UploadRepository
from app.domain.periodic import Round
from app.operations.upload_files import remove_files
from app.sources.upload_folder import UploadFolder

PER_BATCH = 500
MOST_BATCHES = 200


class OldUploads:
    """Rows are the truth: an unfinished one goes when its time is over, a file when no row has known it for long.

    A file is ours only if its name carries our marker. Since when it is unknown is a row, so that a database that was
    brought back from a backup has time to be told from one that has lost nothing.

    Args:
        folder: None if this process has none; then only rows go.
        grace_seconds: how long a file has to be unknown.
    """

    def __init__(self, database: Database, folder: UploadFolder | None, *, grace_seconds: float) -> None:
        self._database = database
        self._folder = folder
        self._grace_seconds = grace_seconds

    async def clean(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        expired = await self._clean_expired(dry_run=given.dry_run)
        if self._folder is None:
            return {"expired": expired, "unknown": 0, "waiting": 0}
        unknown = await self._note_unknown(self._folder, dry_run=given.dry_run)
        removed = await self._remove_unknown(self._folder, dry_run=given.dry_run)
        return {"expired": expired, "unknown": removed, "waiting": max(0, unknown - removed)}

    async def _clean_expired(self, *, dry_run: bool) -> int:
        if dry_run:
            async with self._database.begin() as connection:
                return await UploadRepository(connection).count_expired()
        total = 0
        for _ in range(MOST_BATCHES):
            async with self._database.begin() as connection:
                names = await UploadRepository(connection).delete_expired(limit=PER_BATCH)
            await remove_files(self._database, self._folder, names)
            total += len(names)
            if len(names) < PER_BATCH:
                break
        return total

    async def _note_unknown(self, folder: UploadFolder, *, dry_run: bool) -> int:
        """How many files no row knows. A row is there before its file, so what is listed and alive is known."""
        async with self._database.begin() as connection:
            marker = await read_marker(connection)
        names = folder.list_names(marker)
        total = 0
        while page := await asyncio.to_thread(lambda: list(islice(names, PER_BATCH))):
            async with self._database.begin() as connection:
                uploads = UploadRepository(connection)
                unknown = await uploads.find_unknown(page)
                if not dry_run:
                    await uploads.note_unknown(unknown)
            total += len(unknown)
        return total

    async def _remove_unknown(self, folder: UploadFolder, *, dry_run: bool) -> int:
        total = 0
        for _ in range(MOST_BATCHES):
            async with self._database.begin() as connection:
                uploads = UploadRepository(connection)
                names = await uploads.list_long_unknown(seconds=self._grace_seconds, limit=PER_BATCH)
            total += len(names)
            if dry_run:
                break
            await remove_files(self._database, folder, names)
            async with self._database.begin() as connection:
                await UploadRepository(connection).forget_unknown(names)
            if len(names) < PER_BATCH:
                break
        return total
