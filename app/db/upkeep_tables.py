"""Tables of the periodic jobs and of what they find; part of the metadata of ``app/db/tables.py``."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.db.tables import metadata

# A job that is done again and again. Whoever moves `next_run_at` on does it this time, until `running_until` alone.
periodic_jobs = Table(
    "periodic_jobs",
    metadata,
    Column("name", Text, primary_key=True),
    Column("every_seconds", Double, nullable=False),
    Column("phase_seconds", Double, nullable=False),
    Column("limit_seconds", Double, nullable=False),
    Column("next_run_at", DateTime(timezone=True), nullable=False),
    Column("round_id", Uuid),
    Column("running_until", DateTime(timezone=True)),
    Column("worker", Text),
    Column("last_run_at", DateTime(timezone=True)),
    Column("last_success_at", DateTime(timezone=True)),
    Column("last_seconds", Double),
    Column("last_result", JSONB),
    Column("last_error_code", Text),
    Column("last_error_message", Text),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

periodic_rounds = Table(
    "periodic_rounds",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("job", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("until", DateTime(timezone=True), nullable=False),
    Column("finished_at", DateTime(timezone=True)),
    Column("seconds", Double),
    Column("result", JSONB),
    Column("error_code", Text),
    Column("error_message", Text),
    Index("ix_periodic_rounds_job", "job", text("started_at DESC")),
)

# Whose physical collections are whose in a shared Qdrant. A copy of the database lies in another place, so it gets a
# marker of its own and never takes the original's collections for its own.
installations = Table(
    "installations",
    metadata,
    Column("place", Text, primary_key=True),
    Column("marker", Text, nullable=False),
)

# Physical collections with our marker that no generation knows, since when that is so.
unknown_collections = Table(
    "unknown_collections",
    metadata,
    Column("name", Text, primary_key=True),
    Column("first_seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

collection_stats = Table(
    "collection_stats",
    metadata,
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True),
    Column("taken_at", DateTime(timezone=True), primary_key=True, server_default=func.now()),
    Column("documents", BigInteger, nullable=False),
    Column("chunks", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("details", JSONB, nullable=False),
)

partition_health = Table(
    "partition_health",
    metadata,
    Column("taken_at", DateTime(timezone=True), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("dead_rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("share", Double, nullable=False),
    Column("skew", Double, nullable=False),
    Column("status", Text, nullable=False),
    Column("action", Text),
    Column("last_vacuum_at", DateTime(timezone=True)),
    Column("last_analyze_at", DateTime(timezone=True)),
)
