"""Whether the periodic jobs are done."""

from collections.abc import Sequence

from app.db.database import Database
from app.db.periodic import PeriodicRepository
from app.domain.checks import Check, Probe
from app.domain.periodic import PeriodicJobStatus


def periodic_probe(database: Database, names: Sequence[str]) -> Probe:
    """Looks at the jobs of these names."""

    async def look() -> Sequence[Check]:
        async with database.begin() as connection:
            return judge_periodic_jobs(await PeriodicRepository(connection).list_statuses(names))

    return Probe(name="periodic jobs", look=look, fix="see the check of Postgres")


def judge_periodic_jobs(statuses: Sequence[PeriodicJobStatus]) -> list[Check]:
    """Which of them have not succeeded for three periods, or failed last time."""
    failed = [status for status in statuses if status.last_error_code is not None]
    missed = [status for status in statuses if status.missed]
    troubles = [f"{status.name} failed ({status.last_error_code}): {status.last_error_message}" for status in failed]
    troubles += [
        f"{status.name} was not done since {status.last_success_at:%Y-%m-%d %H:%M}"
        if status.last_success_at
        else f"{status.name} was never done"
        for status in missed
    ]
    names = sorted({status.name for status in (*failed, *missed)})
    well = f"{len(statuses)} known, all done in time" if statuses else "none yet: no worker has lived so far"
    fix = f"mend the cause, start a worker if none lives, and try: vecloom jobs run {names[0]}" if names else ""
    return [Check(name="periodic jobs", ok=not troubles, detail="; ".join(troubles) or well, fix=fix)]
