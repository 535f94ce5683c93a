"""Rows of ``periodic_jobs`` and ``periodic_rounds``: which job is done when, by whom, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from zlib import crc32

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.operation_rows import ALIVE
from app.db.statements import JSON_OR_NULL, TEXTS, parsed
from app.domain.errors import DomainError, NotFoundError, PeriodicJobInterruptedError
from app.domain.periodic import PeriodicJob, PeriodicJobStatus, RoundRecord, RoundState, Trigger
from app.domain.sanitising import sanitise

ROUNDS_KEPT = 100
MARGIN_SECONDS = 60.0
"""How long after its time limit a round is given up: its worker is gone, or it would have said how it ended."""

LONGEST_PHASE_SECONDS = 600.0
FIRST_SECONDS = 300.0
"""How soon after its first appearance a job is done, unless its period is shorter."""

OFTEN_SECONDS = 60.0
"""Rounds of jobs that come more often than this are counted, and not remembered one by one."""

_GRACE = "least(1, every_seconds / 2)"
"""Who wakes a job by another clock, or a little early, shall not miss it for a whole period."""

_NEXT = f"""to_timestamp((floor((extract(epoch FROM now()) - phase_seconds + {_GRACE}) / every_seconds) + 1)
    * every_seconds + phase_seconds)"""

_STARTED = """round_id = gen_random_uuid(), worker = :worker, last_run_at = now(),
    running_until = now() + make_interval(secs => limit_seconds + :margin)"""

_REGISTER = """
INSERT INTO periodic_jobs AS j (name, every_seconds, phase_seconds, limit_seconds, next_run_at)
SELECT name, every, phase, lim, now() + make_interval(secs => CASE WHEN every > 60 THEN least(every, :first) ELSE 0 END)
FROM unnest(CAST(:names AS text[]), CAST(:every AS float8[]), CAST(:phases AS float8[]), CAST(:limits AS float8[]))
    AS given (name, every, phase, lim)
ON CONFLICT (name) DO UPDATE SET every_seconds = excluded.every_seconds, phase_seconds = excluded.phase_seconds,
    limit_seconds = excluded.limit_seconds, next_run_at = least(j.next_run_at, excluded.next_run_at)
WHERE (j.every_seconds, j.limit_seconds) IS DISTINCT FROM (excluded.every_seconds, excluded.limit_seconds)
"""

# The second of two workers waits for the first one's row, and then finds the job due no more.
_CLAIM_DUE = f"""
UPDATE periodic_jobs SET {_STARTED}, next_run_at = {_NEXT}
WHERE name = ANY(:names) AND next_run_at <= now() + make_interval(secs => {_GRACE})
  AND (running_until IS NULL OR running_until < now() OR name = ANY(:overlapping))
RETURNING name, round_id, coalesce(last_result, '{{}}'::jsonb) AS before, running_until, every_seconds
"""

_CLAIM_ONE = f"""
UPDATE periodic_jobs SET {_STARTED}
WHERE name = :name AND (running_until IS NULL OR running_until < now() OR :overlaps)
RETURNING name, round_id, coalesce(last_result, '{{}}'::jsonb) AS before, running_until, every_seconds
"""

# A failure is tried again soon, and less and less soon: at most once in a period. An interruption is none.
_FINISH = """
UPDATE periodic_jobs SET round_id = NULL, running_until = NULL, last_seconds = :seconds, last_error_code = :code,
    last_error_message = :message, last_result = CASE WHEN :ok THEN :result ELSE last_result END,
    last_success_at = CASE WHEN :ok THEN now() ELSE last_success_at END,
    failures = CASE WHEN :ok THEN 0 ELSE failures + 1 END,
    next_run_at = CASE WHEN :ok THEN next_run_at
        ELSE least(next_run_at, now() + make_interval(secs => 60 * 2 ^ least(failures, 10))) END
WHERE name = :name AND round_id = :round
"""

_INTERRUPT = """
UPDATE periodic_jobs SET round_id = NULL, running_until = NULL, next_run_at = least(next_run_at, now())
WHERE name = :name AND round_id = :round
"""

_FINISH_ROUND = """
UPDATE periodic_rounds SET state = :state, finished_at = now(), seconds = :seconds, result = :result,
    error_code = :code, error_message = :message WHERE id = :round AND state = 'running'
"""

_GIVE_UP = """
WITH jobs AS (
    UPDATE periodic_jobs SET round_id = NULL, running_until = NULL, next_run_at = least(next_run_at, now())
    WHERE running_until < now()
)
UPDATE periodic_rounds SET state = 'failed', finished_at = now(), error_code = :code, error_message = :message
WHERE state = 'running' AND until < now()
"""

_STATUS = f"""
SELECT name, every_seconds, next_run_at, worker, last_run_at, last_success_at, last_seconds, last_result,
    last_error_code, last_error_message, failures, running_until IS NOT NULL AND running_until >= now() AS is_running,
    coalesce(last_success_at, created_at) < now() - make_interval(secs => 3 * every_seconds)
      AND coalesce((SELECT min(w.started_at) FROM workers w WHERE {ALIVE}), '-infinity')
          < now() - make_interval(secs => :patience) AS missed
FROM periodic_jobs WHERE name = ANY(:names) ORDER BY name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRound:
    """A round that this process does."""

    job: str
    id: UUID
    before: Mapping[str, Any]


def phase_of(job: PeriodicJob) -> float:
    """Where in its period a job's turn is, so that not all of them come at the full hour."""
    room = int(min(job.every_seconds / 4, LONGEST_PHASE_SECONDS))
    return float(crc32(job.name.encode()) % room) if job.every_seconds > OFTEN_SECONDS else 0.0


class PeriodicRepository:
    """Which periodic job is done when, by whom, and what came of it; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def register(self, jobs: Sequence[PeriodicJob]) -> None:
        """Write down the jobs of this version; one that is known keeps its times."""
        values = {
            "names": [job.name for job in jobs],
            "every": [float(job.every_seconds) for job in jobs],
            "phases": [phase_of(job) for job in jobs],
            "limits": [float(job.limit_seconds) for job in jobs],
            "first": FIRST_SECONDS,
        }
        await self._connection.execute(parsed(_REGISTER, names=TEXTS), values)

    async def give_up_abandoned(self) -> None:
        """End the rounds whose process is gone, so that their jobs are done again at once."""
        error = PeriodicJobInterruptedError()
        await self._connection.execute(text(_GIVE_UP), {"code": error.code, "message": error.message})

    async def claim_due(self, jobs: Sequence[PeriodicJob], *, worker: str) -> list[ClaimedRound]:
        """Take every job whose turn it is and that nobody else does."""
        values = {
            "names": [job.name for job in jobs],
            "overlapping": [job.name for job in jobs if job.overlaps],
            "worker": worker,
            "margin": MARGIN_SECONDS,
        }
        rows = await self._connection.execute(parsed(_CLAIM_DUE, names=TEXTS, overlapping=TEXTS), values)
        claimed = rows.mappings().all()
        for row in claimed:
            if row["every_seconds"] >= OFTEN_SECONDS:
                await self._add_round(row, trigger=Trigger.SCHEDULE, worker=worker)
        return [ClaimedRound(job=row["name"], id=row["round_id"], before=row["before"]) for row in claimed]

    async def claim(self, job: PeriodicJob, *, worker: str) -> ClaimedRound | None:
        """Take a job out of turn; its next turn stays when it was. None if somebody does it now."""
        values = {"name": job.name, "worker": worker, "margin": MARGIN_SECONDS, "overlaps": job.overlaps}
        row = (await self._connection.execute(text(_CLAIM_ONE), values)).mappings().first()
        if row is None:
            return None
        await self._add_round(row, trigger=Trigger.HAND, worker=worker)
        return ClaimedRound(job=row["name"], id=row["round_id"], before=row["before"])

    async def add_dry_run(self, job: PeriodicJob, *, worker: str) -> ClaimedRound:
        """Begin a round that does nothing, so nobody has to wait for it."""
        row = (
            await self._connection.execute(
                text(
                    """SELECT name, gen_random_uuid() AS round_id, coalesce(last_result, '{}'::jsonb) AS before,
                           now() + make_interval(secs => limit_seconds + :margin) AS running_until
                       FROM periodic_jobs WHERE name = :name"""
                ),
                {"name": job.name, "margin": MARGIN_SECONDS},
            )
        ).mappings()
        found = row.one()
        await self._add_round(found, trigger=Trigger.HAND, worker=worker, dry_run=True)
        return ClaimedRound(job=job.name, id=found["round_id"], before=found["before"])

    async def _add_round(self, row: RowMapping, *, trigger: Trigger, worker: str, dry_run: bool = False) -> None:
        await self._connection.execute(
            text(
                """INSERT INTO periodic_rounds (id, job, trigger, dry_run, state, worker, until)
                   VALUES (:id, :job, :trigger, :dry_run, 'running', :worker, :until)"""
            ),
            {
                "id": row["round_id"],
                "job": row["name"],
                "trigger": trigger.value,
                "dry_run": dry_run,
                "worker": worker,
                "until": row["running_until"],
            },
        )
        await self._connection.execute(
            text(
                """DELETE FROM periodic_rounds WHERE job = :job AND state <> 'running' AND started_at < (
                       SELECT started_at FROM periodic_rounds WHERE job = :job
                       ORDER BY started_at DESC OFFSET :kept LIMIT 1)"""
            ),
            {"job": row["name"], "kept": ROUNDS_KEPT},
        )

    async def finish(
        self, claimed: ClaimedRound, *, seconds: float, result: Mapping[str, Any] | None, error: DomainError | None
    ) -> None:
        """Write down how a round ended; of a dry run only in its own row."""
        round_values = {
            "round": claimed.id,
            "seconds": seconds,
            "result": None if result is None else dict(result),
            "code": error.code if error else None,
            "message": sanitise(error.message) if error else None,
        }
        if isinstance(error, PeriodicJobInterruptedError):
            await self._connection.execute(text(_INTERRUPT), {"name": claimed.job, "round": claimed.id})
        else:
            values = {**round_values, "name": claimed.job, "ok": error is None}
            await self._connection.execute(parsed(_FINISH, result=JSON_OR_NULL), values)
        await self._connection.execute(
            parsed(_FINISH_ROUND, result=JSON_OR_NULL),
            {**round_values, "state": (RoundState.FAILED if error else RoundState.COMPLETED).value},
        )

    async def list_statuses(self, names: Sequence[str], *, patience_seconds: float = 60.0) -> list[PeriodicJobStatus]:
        """How it stands with these jobs, as far as a worker has written them down.

        A worker that has lived for less than ``patience_seconds`` may still catch up on what was missed.
        """
        rows = await self._connection.execute(
            parsed(_STATUS, names=TEXTS), {"names": list(names), "patience": patience_seconds}
        )
        return [PeriodicJobStatus(**row) for row in rows.mappings()]

    async def list_successes(self) -> dict[str, float]:
        """When each job was last done, as seconds since 1970."""
        rows = await self._connection.execute(
            text(
                """SELECT name, extract(epoch FROM last_success_at)::float8 AS at FROM periodic_jobs
                   WHERE last_success_at IS NOT NULL"""
            )
        )
        return {row.name: row.at for row in rows}

    async def list_rounds(self, job: str, *, limit: int = 20) -> list[RoundRecord]:
        """The last rounds of a job, newest first."""
        rows = await self._connection.execute(
            text("SELECT * FROM periodic_rounds WHERE job = :job ORDER BY started_at DESC LIMIT :limit"),
            {"job": job, "limit": limit},
        )
        return [_to_record(row) for row in rows.mappings()]

    async def get_round(self, job: str, round_id: UUID) -> RoundRecord:
        """Raises NotFoundError."""
        rows = await self._connection.execute(
            text("SELECT * FROM periodic_rounds WHERE job = :job AND id = :id"), {"job": job, "id": round_id}
        )
        row = rows.mappings().first()
        if row is None:
            raise NotFoundError(f"{job} has no round {round_id}; only its last {ROUNDS_KEPT} are remembered")
        return _to_record(row)


def _to_record(row: RowMapping) -> RoundRecord:
    names = ("id", "job", "dry_run", "worker", "started_at", "finished_at", "seconds", "result")
    return RoundRecord(
        trigger=Trigger(row["trigger"]),
        state=RoundState(row["state"]),
        error_code=row["error_code"],
        error_message=row["error_message"],
        **{name: row[name] for name in names},
    )
