"""Removes files of uploads whose rows are gone."""

import asyncio
from collections.abc import Sequence

import structlog

from app.db.database import Database
from app.db.leftovers import read_marker
from app.sources.upload_folder import UploadFolder

log = structlog.get_logger(__name__)


async def remove_files(database: Database, folder: UploadFolder | None, names: Sequence[str]) -> int:
    """Remove files that no row names any more; how many. What cannot be removed now is an orphan for the upkeep.

    What another installation has made stays, whose rows may be in this database because it is a copy.
    """
    if not names:
        return 0
    if folder is None:
        log.warning("uploads_not_removed", files=len(names), note="this process has no VECLOOM_UPLOAD_FOLDER")
        return 0
    async with database.begin() as connection:
        marker = await read_marker(connection)
    own = [name for name in names if name.startswith(f"{marker}/")]
    return await asyncio.to_thread(_remove, folder, own)


def _remove(folder: UploadFolder, names: Sequence[str]) -> int:
    removed = 0
    for name in names:
        try:
            folder.remove(name)
            removed += 1
        except OSError as error:
            log.warning("upload_not_removed", error=type(error).__name__)
    return removed
