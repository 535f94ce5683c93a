"""Compares a database's schema with the one this version needs."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.migrate import list_revisions


class Schema:
    """The revisions this version knows, read once."""

    def __init__(self) -> None:
        self._revisions: list[str] = []

    async def find_trouble(self, connection: AsyncConnection) -> str | None:
        """What is wrong, or None.

        A revision that this version does not know was made by a newer one: while that is rolled out, both work on it.
        """
        if not self._revisions:
            self._revisions = await asyncio.to_thread(list_revisions)
        if await connection.scalar(text("SELECT to_regclass('alembic_version')::text")) is None:
            return "the database is empty"
        revision = await connection.scalar(text("SELECT version_num FROM alembic_version"))
        if revision is None:
            return "the database is empty"
        if revision in self._revisions[1:]:
            return f"the database is at revision {revision}, this version needs {self._revisions[0]}"
        return None
