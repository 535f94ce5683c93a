"""What happens to an operation on its way: nothing, a cancel, a pause, or the death of its worker."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from app.bootstrap import Parts
from tests.harness import wait_until

TABLES = ("documents", "chunks", "document_sources", "operation_totals", "sources")
"""Those that operations write to at one moment or another."""


class Blow(StrEnum):
    """What comes between."""

    NONE = "none"
    CANCEL = "cancel"
    CANCEL_AND_RETRY = "cancel and retry"
    KILL = "kill"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What comes between, and when: so many seconds after the first write to a table, or after the beginning.

    ``is_before`` says that it comes before that write: what was stored elsewhere until then is in no row yet.
    """

    blow: Blow = Blow.NONE
    table: str | None = None
    seconds: float = 0.0
    is_before: bool = False

    def __str__(self) -> str:
        """Short enough for a line."""
        if self.blow is Blow.NONE:
            return "undisturbed"
        if self.is_before and self.table:
            return f"{self.blow} before it writes to {self.table}"
        return f"{self.blow} {self.seconds} s after {f'it writes to {self.table}' if self.table else 'its beginning'}"


class Hold:
    """Keeps everybody from writing to a table."""

    def __init__(self, connection: asyncpg.Connection | None) -> None:
        self._connection = connection

    async def wait_for_writer(self, is_over: Callable[[], Awaitable[bool]]) -> None:
        """Return when somebody waits for the table, or will not come to it any more."""
        connection = self._connection
        if connection is None:
            return

        async def came() -> bool:
            pid = connection.get_server_pid()
            # pg_stat_activity would show, all through a transaction, whoever was connected at its first look
            query = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted AND $1 = ANY(pg_blocking_pids(pid)))"
            return bool(await connection.fetchval(query, pid)) or await is_over()

        await wait_until(came)


@asynccontextmanager
async def hold(parts: Parts, table: str | None) -> AsyncIterator[Hold]:
    """Keep everybody from writing to a table while the block runs; None is no table."""
    if table is None:
        yield Hold(None)
        return
    address = parts.database.engine.url.render_as_string(hide_password=False)
    connection = await asyncpg.connect(address.replace("postgresql+asyncpg", "postgresql"))
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN SHARE MODE")
            yield Hold(connection)
    finally:
        await connection.close()
