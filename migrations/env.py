"""Alembic environment. The database comes from the caller or from ``VECLOOM_DATABASE_URL``."""

import asyncio
import re

from alembic import context
from sqlalchemy import Connection

import app.db.benchmark_tables
import app.db.dataset_tables
import app.db.projection_tables
import app.db.search_tables
import app.db.session_tables
import app.db.upkeep_tables
import app.db.upload_tables  # noqa: F401 — the tables of all seven are part of the metadata
from app.db.database import create_engine
from app.db.tables import metadata
from app.settings import Settings

PARTITION = re.compile(r"^chunks_p\d+")
MIGRATION_LOCK = 0x7665636C


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Partitions of ``chunks`` are not tables of the model."""
    return not (kind == "table" and PARTITION.match(name or ""))


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, include_name=_is_ours)
    with context.begin_transaction():
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        context.run_migrations()


async def _run_online() -> None:
    url = context.config.get_main_option("sqlalchemy.url")
    if not url:
        secret = Settings().database_url
        if secret is None:
            raise SystemExit("set VECLOOM_DATABASE_URL to the database to migrate")
        url = secret.get_secret_value()
    engine = create_engine(url.replace("%%", "%"), pool_size=1)
    async with engine.connect() as connection:
        await connection.run_sync(_run)
    await engine.dispose()


shared = context.config.attributes.get("connection")
if shared is None:
    asyncio.run(_run_online())
else:
    _run(shared)
