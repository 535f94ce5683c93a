"""refresh_progress_ttl: no stream of progress events stays for ever, and none outlives its operation."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.db.database import Database
from app.db.leftovers import LeftoverRepository
from app.domain.periodic import Round
from app.progress.keys import ProgressKeys

MOST_SCANS = 400
"""Of about 500 keys of Redis each, whoever they belong to; the next round goes on from there."""


class ProgressKeeper:
    """Goes through all keys, some at a time."""

    def __init__(self, database: Database, keys: ProgressKeys, *, most_scans: int = MOST_SCANS) -> None:
        self._database = database
        self._keys = keys
        self._most_scans = most_scans

    async def keep(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        cursor = int(given.before.get("cursor", 0))
        seen = given_expiry = dropped = 0
        for _ in range(self._most_scans):
            cursor, keys = await self._keys.scan(cursor)
            orphans = await self._find_orphans(keys)
            eternal = await self._keys.list_without_expiry([key for key in keys if key not in orphans])
            if not given.dry_run:
                await self._keys.drop(sorted(orphans))
                await self._keys.set_expiry(eternal)
            seen += len(keys)
            given_expiry += len(eternal)
            dropped += len(orphans)
            if cursor == 0:
                break
        return {"keys": seen, "given_expiry": given_expiry, "dropped": dropped, "cursor": cursor}

    async def _find_orphans(self, keys: Sequence[str]) -> set[str]:
        """Streams of operations that are deleted: an operation has its row before its first event."""
        operations = {key: operation for key in keys if (operation := self._keys.read_operation(key))}
        if not operations:
            return set()
        async with self._database.begin() as connection:
            known = await LeftoverRepository(connection).find_known_operations(list(operations.values()))
        return {key for key, operation in operations.items() if operation not in known}
