"""Drops what is kept of the past for a time only."""

from typing import Any

from app.db.audit import trim_audit_log
from app.db.database import Database
from app.db.deliveries import trim_deliveries
from app.jobs.cron import run_tick

HOUR_SECONDS = 3600


async def cleanup_records(ctx: dict[Any, Any]) -> None:
    """Drop old entries of the audit log and old deliveries, once an hour."""
    database: Database = ctx["database"]

    async def trim() -> int:
        dropped = await trim_audit_log(database, keep_days=ctx["audit_keep_days"])
        return dropped + await trim_deliveries(database, keep_days=ctx["webhook_keep_days"])

    await run_tick(database, "cleanup_records", every_seconds=HOUR_SECONDS, worker=ctx["worker"], work=trim)
