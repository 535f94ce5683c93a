"""Attempts at operations: every change one can make is one guarded statement here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.db.operation_rows import IS_DUE, RAN, RELAXED, SELECT, Rows, to_operation
from app.db.statements import JSON, JSON_OR_NULL, UUIDS, parsed
from app.domain.operations import Lease, LeaseAnswer, Operation, OperationState

_WRITES_NO_MORE = "writes = writes AND NOT wants_to_write, wants_to_write = false"
"""What became a writer in the middle of an attempt begins the next one as it began this one."""

_LOCKED = "(SELECT id FROM operations WHERE id = :id FOR UPDATE)"
"""Waits for all fenced transactions of the attempt that is ended; see ``Database.fenced``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ends its operation; ``result`` is JSON."""

    lease: Lease
    state: OperationState
    result: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    retryable: bool | None = None


class AttemptRepository(Rows):
    """Starts, keeps and ends attempts; never commits."""

    async def claim(
        self,
        deliveries: Sequence[tuple[UUID, int]],
        *,
        worker: str,
        worker_id: UUID | None,
        kinds: Sequence[str],
        lease_seconds: float,
    ) -> dict[UUID, Operation]:
        """Start attempts. A delivery that is stale, cancelled, paused, not due or not first in line is missing.

        If a crash of Postgres forgets that an attempt was started, its token is unknown and it can write nothing.
        """
        statement = parsed(
            f"""WITH o AS (UPDATE operations o SET state = 'running', attempt = attempt + 1,
                    lease_token = gen_random_uuid(), lease_until = now() + make_interval(secs => :lease),
                    heartbeat_at = now(), worker = :worker, worker_id = :worker_id,
                    started_at = coalesce(started_at, now()), attempt_started_at = now(), why_waiting = NULL
                FROM unnest(:ids, CAST(:numbers AS int[])) AS given (id, number)
                WHERE o.id = given.id AND o.dispatch = given.number AND o.kind = ANY(CAST(:kinds AS text[]))
                  AND {IS_DUE} AND (SELECT {RELAXED}) IS NOT NULL RETURNING o.*)
                {SELECT.replace("FROM operations o", "FROM o", 1)}""",
            ids=UUIDS,
        )
        values = {
            "ids": [delivery[0] for delivery in deliveries],
            "numbers": [delivery[1] for delivery in deliveries],
            "kinds": list(kinds),
            "worker": worker,
            "worker_id": worker_id,
            "lease": float(lease_seconds),
        }
        rows = (await self._connection.execute(statement, values)).mappings().all()
        return {row["id"]: to_operation(row) for row in rows}

    async def beat(self, leases: Sequence[Lease], *, lease_seconds: float) -> dict[Lease, LeaseAnswer]:
        """Renew leases; a lost one is missing from the answer."""
        statement = parsed(
            """UPDATE operations o SET lease_until = now() + make_interval(secs => :lease), heartbeat_at = now()
               FROM unnest(:ids, :tokens) AS held (id, token)
               WHERE o.id = held.id AND o.lease_token = held.token AND o.state = 'running'
               RETURNING o.id, o.cancel_requested_at IS NOT NULL AS cancel,
                         o.paused_at IS NOT NULL OR EXISTS (SELECT 1 FROM collections c WHERE c.id = o.collection_id
                                                            AND c.paused_at IS NOT NULL) AS pause""",
            ids=UUIDS,
            tokens=UUIDS,
        )
        values = {
            "lease": float(lease_seconds),
            "ids": [lease.operation_id for lease in leases],
            "tokens": [lease.token for lease in leases],
        }
        rows = (await self._connection.execute(statement, values)).mappings().all()
        answers = {row["id"]: LeaseAnswer(cancel=row["cancel"], pause=row["pause"]) for row in rows}
        return {lease: answers[lease.operation_id] for lease in leases if lease.operation_id in answers}

    async def save_progress(self, lease: Lease, progress: dict[str, Any] | None, *, why_waiting: str | None) -> None:
        """Keep the last progress snapshot, if there is a new one, and what slows the operation down."""
        statement = parsed(
            f"""UPDATE operations SET progress = coalesce(CAST(:progress AS jsonb), progress), why_waiting = :why
               WHERE id = :id AND lease_token = :token AND state = 'running' AND (SELECT {RELAXED}) IS NOT NULL""",
            progress=JSON_OR_NULL,
        )
        values = {"id": lease.operation_id, "token": lease.token, "progress": progress, "why": why_waiting}
        await self._connection.execute(statement, values)

    async def finish(self, outcomes: Sequence[Outcome]) -> dict[UUID, Operation]:
        """End running operations; one whose lease was lost is missing. A job that finished wins over a cancel."""
        statement = parsed(
            f"""WITH locked AS MATERIALIZED (
                SELECT id FROM operations WHERE id = ANY(:ids) ORDER BY id FOR UPDATE
            ), o AS (UPDATE operations o SET state = given.state,
                    result = coalesce(CAST(given.result AS jsonb), o.result), error_code = given.code,
                    error_message = given.message, retryable = given.retryable, finished_at = now(),
                    lease_token = NULL, lease_until = NULL, why_waiting = NULL, {RAN}
                FROM unnest(:ids, :tokens, CAST(:states AS text[]), CAST(:results AS text[]), CAST(:codes AS text[]),
                            CAST(:messages AS text[]), CAST(:retryables AS bool[]))
                  AS given (id, token, state, result, code, message, retryable) JOIN locked USING (id)
                WHERE o.id = given.id AND o.lease_token = given.token AND o.state = 'running'
                RETURNING o.*) {SELECT.replace("FROM operations o", "FROM o", 1)}""",
            ids=UUIDS,
            tokens=UUIDS,
        )
        values = {
            "ids": [outcome.lease.operation_id for outcome in outcomes],
            "tokens": [outcome.lease.token for outcome in outcomes],
            "states": [outcome.state.value for outcome in outcomes],
            "results": [outcome.result for outcome in outcomes],
            "codes": [outcome.error_code for outcome in outcomes],
            "messages": [outcome.error_message for outcome in outcomes],
            "retryables": [outcome.retryable for outcome in outcomes],
        }
        rows = (await self._connection.execute(statement, values)).mappings().all()
        return {row["id"]: to_operation(row) for row in rows}

    async def put_back(
        self,
        lease: Lease,
        *,
        delay_seconds: float = 0,
        failures: int = 0,
        interruptions: int = 0,
        why_waiting: str | None = None,
        error_code: str | None = None,
        error_message: str | None = None,
    ) -> Operation | None:
        """End an attempt but not its operation: pending again, due after a delay.

        An attempt that neither failed nor was interrupted has got on, and earlier troubles are forgiven. If a cancel
        was requested meanwhile, the operation is cancelled instead.
        """
        return await self._change(
            f"""UPDATE operations o SET lease_token = NULL, lease_until = NULL,
                    state = CASE WHEN cancel_requested_at IS NULL THEN 'pending' ELSE 'cancelled' END,
                    finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN now() END,
                    dispatched_at = NULL, run_after = now() + make_interval(secs => :delay), {_WRITES_NO_MORE},
                    failures = CASE WHEN :goes_on THEN 0 ELSE failures + :failures END,
                    interruptions = CASE WHEN :goes_on THEN 0 ELSE interruptions + :interruptions END,
                    why_waiting = CASE WHEN cancel_requested_at IS NULL THEN :why END,
                    error_code = CASE WHEN cancel_requested_at IS NULL THEN :code END,
                    error_message = CASE WHEN cancel_requested_at IS NULL THEN :message END, {RAN}
               WHERE o.id = {_LOCKED} AND o.lease_token = :token AND o.state = 'running'""",
            {
                "id": lease.operation_id,
                "token": lease.token,
                "delay": float(delay_seconds),
                "failures": failures,
                "interruptions": interruptions,
                "goes_on": failures + interruptions == 0,
                "why": why_waiting,
                "code": error_code,
                "message": error_message,
            },
        )

    async def end_cancelled(self) -> list[Operation]:
        """End pending operations whose cancel was requested while they were on their way back into the line."""
        rows = await self._rows(
            f"""WITH o AS (UPDATE operations o SET state = 'cancelled', finished_at = now(), why_waiting = NULL
                WHERE o.state = 'pending' AND o.cancel_requested_at IS NOT NULL RETURNING o.*)
                {SELECT.replace("FROM operations o", "FROM o", 1)}""",
            {},
        )
        return [to_operation(row) for row in rows]

    async def list_expired(self) -> list[Operation]:
        """Running operations whose worker has not renewed the lease in time."""
        rows = await self._rows(f"{SELECT} WHERE o.state = 'running' AND o.lease_until < now()", {})
        return [to_operation(row) for row in rows]

    async def expire_leases(self, worker_ids: Sequence[UUID] | None = None) -> None:
        """End the leases of these workers now, or all; who still holds one is fenced as if it had run out."""
        await self._connection.execute(
            parsed(
                """UPDATE operations SET lease_until = now() - interval '1 millisecond'
                   WHERE state = 'running' AND (:all OR worker_id = ANY(:workers))""",
                workers=UUIDS,
            ),
            {"all": worker_ids is None, "workers": list(worker_ids or ())},
        )

    async def heal_clock(self, *, longest_delay_seconds: float) -> int:
        """Bring times of the future back to now, after Postgres' clock was moved back; how many operations had one.

        Whatever was last written down of an operation cannot lie ahead, so that says by how much the clock went back.
        A wait after an error keeps its length, which is at most ``longest_delay_seconds``. A time that a caller has
        named for an operation that was not tried yet stays.
        """
        healed = await self._connection.execute(
            parsed(
                """UPDATE operations o SET heartbeat_at = least(heartbeat_at, now()),
                       created_at = least(created_at, now()),
                       lease_until = least(lease_until, now() + (lease_until - heartbeat_at)),
                       attempt_started_at = least(attempt_started_at, now()),
                       run_after = CASE WHEN heartbeat_at IS NULL AND run_after > created_at THEN run_after
                           WHEN error_code IS NULL THEN least(run_after, now())
                           ELSE least(run_after - ahead.time, now() + make_interval(secs => :longest)) END
                   FROM (SELECT id AS ahead_id, greatest(heartbeat_at, created_at, now()) - now() AS time
                         FROM operations WHERE state IN ('pending', 'running')) AS ahead
                   WHERE o.id = ahead.ahead_id AND state IN ('pending', 'running')
                     AND (ahead.time > interval '1 second'
                          OR (error_code IS NOT NULL AND run_after > now() + make_interval(secs => :longest)))"""
            ),
            {"longest": float(longest_delay_seconds)},
        )
        return healed.rowcount

    async def become_writer(self, lease: Lease) -> bool:
        """Make a running operation the writer of its collection; False while another one is.

        Nobody begins to write any more once this was called: it stands first in line.

        Raises:
            IntegrityError: if another one has become it at this moment.
        """
        statement = parsed(
            """UPDATE operations o SET wants_to_write = true, writes = NOT EXISTS (
                   SELECT 1 FROM operations w WHERE w.collection_id = o.collection_id AND w.writes
                     AND w.state = 'running' AND w.id <> o.id)
               WHERE o.id = :id AND o.lease_token = :token AND o.state = 'running' RETURNING o.writes"""
        )
        values = {"id": lease.operation_id, "token": lease.token}
        return bool((await self._connection.execute(statement, values)).scalar_one_or_none())

    async def keep_result(self, lease: Lease, result: dict[str, Any]) -> None:
        """Keep what an operation has found out, however it ends."""
        statement = parsed(
            "UPDATE operations SET result = :result WHERE id = :id AND lease_token = :token AND state = 'running'",
            result=JSON,
        )
        values = {"id": lease.operation_id, "token": lease.token, "result": result}
        await self._connection.execute(statement, values)

    async def wait_at_most(self, seconds: float) -> None:
        """Have a statement of this transaction that waits longer for a lock raise a DBAPIError."""
        await self._connection.execute(
            parsed("SELECT set_config('lock_timeout', :milliseconds, true)"), {"milliseconds": str(int(seconds * 1000))}
        )

    async def take_back(self, lease: Lease, *, max_interruptions: int) -> Operation | None:
        """Take an expired lease away: cancelled if that was asked, failed if it died too often, else pending.

        The dispatch number grows, so that whoever lost the lease can tell this end from one of its own.
        """
        return await self._change(
            f"""UPDATE operations o SET
                    state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                                 WHEN interruptions >= :most THEN 'failed' ELSE 'pending' END,
                    finished_at = CASE WHEN cancel_requested_at IS NOT NULL OR interruptions >= :most
                                       THEN now() END,
                    error_code = CASE WHEN cancel_requested_at IS NULL AND interruptions >= :most
                                      THEN 'interrupted_too_often' END,
                    error_message = CASE WHEN cancel_requested_at IS NULL AND interruptions >= :most
                                         THEN 'it was interrupted ' || interruptions + 1 || ' times' END,
                    retryable = CASE WHEN cancel_requested_at IS NULL AND interruptions >= :most THEN true END,
                    interruptions = interruptions + 1, lease_token = NULL, lease_until = NULL, dispatch = dispatch + 1,
                    dispatched_at = NULL, run_after = now(), why_waiting = 'its worker is gone', {_WRITES_NO_MORE},
                    {RAN}
               WHERE o.id = {_LOCKED} AND o.lease_token = :token AND o.state = 'running'
                 AND o.lease_until < now()""",
            {"id": lease.operation_id, "token": lease.token, "most": max_interruptions},
        )
