"""Periodic work: arq wakes it on every worker, a row in Postgres makes each tick run once."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.db.database import Database

log = structlog.get_logger(__name__)


async def run_tick(
    database: Database, name: str, *, every_seconds: int, worker: str, work: Callable[[], Awaitable[object]]
) -> bool:
    """Run ``work`` unless another worker has taken this tick; ticks of the last day are remembered."""
    now = int(datetime.now(UTC).timestamp())
    tick = datetime.fromtimestamp(now - now % every_seconds, UTC)
    try:
        async with database.begin() as connection:
            taken = await connection.execute(
                text(
                    "INSERT INTO cron_ticks (name, tick, worker) VALUES (:name, :tick, :worker) ON CONFLICT DO NOTHING"
                ),
                {"name": name, "tick": tick, "worker": worker},
            )
            await connection.execute(
                text("DELETE FROM cron_ticks WHERE name = :name AND tick < now() - interval '1 day'"), {"name": name}
            )
        if taken.rowcount == 0:
            return False
        outcome = await work()
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        log.warning("cron_failed", name=name, error=type(error).__name__)
        return False
    log.debug("cron_done", name=name, outcome=outcome)
    return True
