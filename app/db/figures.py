"""How many operations there are, how long they wait, and what keeps Postgres busy: read in one statement each."""

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.operation_rows import ALIVE, IS_DUE

_COUNTS = """
SELECT kind, state, count(*) AS number FROM operations
WHERE state IN ('pending', 'running') OR finished_at > now() - interval '1 day' GROUP BY kind, state
"""

_LINE = f"""
SELECT count(*) FILTER (WHERE o.state = 'pending' AND o.dispatched_at IS NOT NULL) AS dispatched,
       count(*) FILTER (WHERE o.state = 'running') AS running,
       count(*) FILTER (WHERE o.state = 'running' AND o.lease_until < now() - make_interval(secs => :patience))
         AS abandoned,
       count(*) FILTER (WHERE o.failures >= :failures) AS failing,
       count(*) FILTER (WHERE o.interruptions >= :interruptions) AS interrupted,
       {{oldest_due}} AS oldest_due_seconds, {{oldest_undispatched}} AS oldest_undispatched_seconds,
       {{oldest_unclaimed}} AS oldest_unclaimed_seconds,
       (SELECT count(*) FROM workers w WHERE {ALIVE}) AS workers_alive,
       (SELECT coalesce(sum(w.slots), 0) FROM workers w WHERE {ALIVE}) AS slots
FROM operations o WHERE o.state IN ('pending', 'running')
""".format(
    oldest_due=f"extract(epoch FROM now() - min(greatest(o.created_at, o.run_after)) FILTER (WHERE {IS_DUE}))",
    oldest_undispatched="extract(epoch FROM now() - min(greatest(o.created_at, o.run_after))"
    f" FILTER (WHERE o.dispatched_at IS NULL AND {IS_DUE}))",
    oldest_unclaimed=f"extract(epoch FROM now() - min(o.dispatched_at) FILTER (WHERE {IS_DUE}))",
)

_SERVER = """
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS connections,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections_used,
       extract(epoch FROM clock_timestamp()) AS clock
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFigures:
    """Unfinished operations and those who work them off.

    Attributes:
        dispatched: enqueued, and not yet claimed by a worker.
        abandoned: running under a lease that has ended some time ago.
        failing: with as many failures as the reader asked for, or more; ``interrupted`` likewise.
        oldest_due_seconds: how long the oldest operation that may start has been waiting; 0 if none does.
        oldest_undispatched_seconds: the same of those that are not dispatched.
        oldest_unclaimed_seconds: how long ago the oldest of those that no worker claimed was dispatched.
        slots: of all live workers.
    """

    dispatched: int
    running: int
    abandoned: int
    failing: int
    interrupted: int
    oldest_due_seconds: float
    oldest_undispatched_seconds: float
    oldest_unclaimed_seconds: float
    workers_alive: int
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFigures:
    """Postgres itself. ``clock`` is its time, as seconds since 1970; connections without those kept for superusers."""

    version: str
    version_number: int
    connections: int
    connections_used: int
    clock: float


class FiguresRepository:
    """Reads; changes nothing."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def count_operations(self) -> dict[tuple[str, str], int]:
        """Operations by kind and state: all unfinished ones, and those that finished within the last day."""
        rows = (await self._connection.execute(text(_COUNTS))).all()
        return {(row.kind, row.state): row.number for row in rows}

    async def read_line(
        self, *, failures: int = 1, interruptions: int = 1, patience_seconds: float = 0.0
    ) -> LineFigures:
        """The line; see ``LineFigures``."""
        values = {"failures": failures, "interruptions": interruptions, "patience": float(patience_seconds)}
        row = (await self._connection.execute(text(_LINE), values)).mappings().one()
        counts = ("dispatched", "running", "abandoned", "failing", "interrupted", "workers_alive", "slots")
        return LineFigures(
            **{name: int(row[name]) for name in counts},
            oldest_due_seconds=_seconds(row["oldest_due_seconds"]),
            oldest_undispatched_seconds=_seconds(row["oldest_undispatched_seconds"]),
            oldest_unclaimed_seconds=_seconds(row["oldest_unclaimed_seconds"]),
        )

    async def read_server(self) -> ServerFigures:
        """Postgres itself."""
        row = (await self._connection.execute(text(_SERVER))).mappings().one()
        return ServerFigures(**{**row, "clock": float(row["clock"])})


def _seconds(age: Decimal | None) -> float:
    """An age, which a clock that was moved back can make negative."""
    return max(0.0, float(age or 0))
