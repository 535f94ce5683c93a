"""Says of each text of a long stream whether it has come before: exactly, in bounded memory."""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from typing import Self

from app.domain.errors import DiskFullError

CACHE_BYTES = 32 * 1024 * 1024
"""What it keeps in memory; more goes into a temporary file that no directory names."""


class DistinctTexts:
    """A set of text hashes; to be used in a ``with`` block, which removes its file."""

    def __init__(self, *, cache_bytes: int = CACHE_BYTES) -> None:
        # an empty name is a database of this connection alone, on the disk only as far as its cache is too small
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._lock = threading.Lock()
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            f"PRAGMA cache_size = -{cache_bytes // 1024}",
            "CREATE TABLE texts (key BLOB PRIMARY KEY) WITHOUT ROWID",
            "BEGIN",
        ):
            self._connection.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._connection.close()

    async def add(self, keys: Sequence[bytes]) -> list[bool]:
        """Whether each key is new, in their order; a key that comes twice is new once.

        Raises:
            DiskFullError: if the file of temporary things has no room.
        """
        return await asyncio.to_thread(self._add, keys) if keys else []

    def _add(self, keys: Sequence[bytes]) -> list[bool]:
        insert = "INSERT OR IGNORE INTO texts VALUES (?)"
        with self._lock:
            try:
                return [self._connection.execute(insert, (key,)).rowcount == 1 for key in keys]
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                    raise DiskFullError("the disk for temporary files of this machine") from error
                raise
