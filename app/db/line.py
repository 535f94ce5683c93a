"""The line of pending operations: which of them start next."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text

from app.db.operation_rows import ALIVE, RELAXED, SELECT, WHY_WAITING, Rows, to_operation
from app.db.statements import UUIDS, parsed
from app.domain.operations import Operation

_LOCK = "hashtext('vecloom.pick')"
TURN_SECONDS = 2
"""How long everybody waits for one who is frozen or cut off while it is its turn."""

# One pass over all that is alive: asking of each row who stands before it would cost a look-up a row, and backlogs are
# long. `stands_first` is `FIRST_IN_LINE` of all rows at once. A pick that a crash of Postgres forgets is made again.
_PICK = f"""
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock({_LOCK}) AS is_ours, {RELAXED}
), known AS MATERIALIZED (
    SELECT DISTINCT unnest(w.kinds) AS kind FROM workers w WHERE {ALIVE}
), alive AS MATERIALIZED (
    SELECT id, user_id, collection_id, seq, state, dispatched_at,
           state = 'running' OR dispatched_at IS NOT NULL AS is_under_way,
           state = 'pending' AND dispatched_at IS NULL AND run_after <= now() AND paused_at IS NULL
             AND cancel_requested_at IS NULL
             AND (kind IN (SELECT kind FROM known) OR NOT EXISTS (SELECT 1 FROM known)) AS is_due,
           NOT writes OR (NOT bool_or(state = 'running' AND (writes OR wants_to_write)) OVER line AND seq = min(seq)
             FILTER (WHERE writes AND state = 'pending' AND (run_after <= now() OR attempt > 0)) OVER line)
             AS stands_first,
           greatest(0, priority - floor(extract(epoch FROM now() - greatest(created_at, run_after)) / :aging)) AS class
    FROM operations WHERE state IN ('pending', 'running')
    WINDOW line AS (PARTITION BY collection_id)
), room AS (
    SELECT greatest(0, CASE WHEN NOT (SELECT is_ours FROM turn) THEN 0
                            WHEN count(*) = 0 THEN :without ELSE sum(w.slots) + :lookahead
               - (SELECT count(*) FROM alive WHERE state = 'running') END
           - (SELECT count(*) FROM alive WHERE state = 'pending' AND dispatched_at IS NOT NULL)) AS free
    FROM workers w WHERE {ALIVE}
), under_way AS (
    SELECT user_id, count(*) AS operations FROM alive WHERE is_under_way GROUP BY user_id
), ranked AS (
    SELECT a.id, a.seq, a.class, coalesce(u.operations, 0)
           + row_number() OVER (PARTITION BY a.user_id, a.class ORDER BY a.seq) AS share
    FROM alive a LEFT JOIN collections c ON c.id = a.collection_id
    LEFT JOIN under_way u ON u.user_id = a.user_id
    WHERE a.is_due AND a.stands_first AND c.paused_at IS NULL
), next AS (
    SELECT id, row_number() OVER (ORDER BY class, share, seq) AS place FROM ranked
    ORDER BY place LIMIT (SELECT free FROM room)
), marked AS (
    UPDATE operations o SET dispatch = dispatch + 1, dispatched_at = now(), why_waiting = NULL
    FROM next WHERE o.id = next.id AND o.state = 'pending' AND o.dispatched_at IS NULL
    RETURNING o.id, o.dispatch, next.place
)
SELECT is_ours, id, dispatch FROM turn LEFT JOIN marked ON true ORDER BY place
"""


class LineRepository(Rows):
    """Picks and withdraws; never commits."""

    async def wait_for_turn(self) -> None:
        """Wait until nobody else picks, and keep others waiting to the end of the transaction, which has to be soon."""
        await self._connection.execute(
            parsed(
                f"""SELECT set_config('idle_in_transaction_session_timeout', '{TURN_SECONDS}s', true),
                           pg_advisory_xact_lock({_LOCK})"""
            )
        )

    async def pick(
        self, *, lookahead: int, without_workers: int, aging_seconds: float
    ) -> list[tuple[UUID, int]] | None:
        """Give the operations that shall start next their next dispatch numbers; ``(id, dispatch)`` in their order.

        As many as live workers have free slots, and ``lookahead`` more; ``without_workers`` at most wait in the queue
        while no worker is known. The higher priority goes first; an operation rises one class each ``aging_seconds``
        that it is due. In a class the user with the fewest operations under way goes first, then the oldest operation.

        One transaction at a time picks: None if that is another one now. Without ``wait_for_turn``, the room that the
        one before has filled at the same moment may still seem free; nothing is picked twice, but a worker may get more
        than it has slots for, which wait in its queue.
        """
        rows = await self._rows(
            _PICK, {"lookahead": lookahead, "without": without_workers, "aging": float(aging_seconds)}
        )
        if not rows[0]["is_ours"]:
            return None
        return [(row["id"], row["dispatch"]) for row in rows if row["id"] is not None]

    async def withdraw(
        self, operation_id: UUID, *, dispatch: int, kinds: Sequence[str], unknown_delay_seconds: float
    ) -> None:
        """Take back a dispatch that its worker could not claim.

        One of a kind that this worker does not know is left alone for a moment, so that another one may get it.
        """
        await self._connection.execute(
            text(
                """UPDATE operations SET dispatched_at = NULL, run_after = CASE WHEN kind = ANY(:kinds) THEN run_after
                       ELSE greatest(run_after, now() + make_interval(secs => :delay)) END
                   WHERE id = :id AND dispatch = :dispatch AND state = 'pending'"""
            ),
            {"id": operation_id, "dispatch": dispatch, "kinds": list(kinds), "delay": float(unknown_delay_seconds)},
        )

    async def dispatch_again(self, deliveries: Sequence[tuple[UUID, int]]) -> list[tuple[UUID, int]]:
        """New dispatch numbers for operations whose announcement was lost; one that was claimed meanwhile has none."""
        statement = parsed(
            """UPDATE operations o SET dispatch = dispatch + 1, dispatched_at = now()
               FROM unnest(:ids, CAST(:numbers AS int[])) AS given (id, number)
               WHERE o.id = given.id AND o.dispatch = given.number AND o.state = 'pending'
                 AND o.dispatched_at IS NOT NULL RETURNING o.id, o.dispatch""",
            ids=UUIDS,
        )
        values = {"ids": [given[0] for given in deliveries], "numbers": [given[1] for given in deliveries]}
        rows = (await self._connection.execute(statement, values)).mappings().all()
        return [(row["id"], row["dispatch"]) for row in rows]

    async def list_dispatched(self, *, limit: int, overdue_seconds: float) -> Sequence[tuple[Operation, bool]]:
        """Pending operations that were dispatched, oldest first, and whether that is long ago."""
        due = SELECT.replace(
            "SELECT o.*",
            "SELECT o.*, o.dispatched_at < now() - make_interval(secs => :overdue) OR o.dispatched_at > now()"
            " AS overdue",
        )
        rows = await self._rows(
            f"""{due} WHERE o.state = 'pending' AND o.dispatched_at IS NOT NULL ORDER BY o.dispatched_at
                LIMIT :limit""",
            {"limit": limit, "overdue": float(overdue_seconds)},
        )
        return [(to_operation(row), row["overdue"]) for row in rows]

    async def list_untold(self, *, limit: int) -> list[Operation]:
        """Operations that wait for another reason than their watchers were told, and note it as told."""
        rows = await self._rows(
            f"""WITH told AS (
                    UPDATE operations u SET why_waiting = n.why_now
                    FROM (SELECT * FROM (SELECT o.id, o.seq, o.why_waiting AS told, {WHY_WAITING} AS why_now
                              FROM operations o LEFT JOIN collections c ON c.id = o.collection_id
                              WHERE o.state = 'pending') looked
                          WHERE why_now IS NOT NULL AND told IS DISTINCT FROM why_now ORDER BY seq LIMIT :limit) n
                    WHERE u.id = n.id AND u.state = 'pending' RETURNING u.id, u.why_waiting)
                {SELECT} JOIN told ON told.id = o.id ORDER BY o.seq""",
            {"limit": limit},
        )
        return [to_operation(row) for row in rows]
