"""Table of projections; part of the metadata of ``app/db/tables.py``."""

from sqlalchemy import Column, DateTime, ForeignKey, Index, Integer, Table, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB

from app.db.tables import metadata

# `fingerprint` is what the collection held when its points were read; `attempt` names the folder it is made in, and
# `files` has the sizes of those that are in its own folder once it has completed.
projections = Table(
    "projections",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("operation_id", Uuid),
    Column("state", Text, nullable=False, server_default=text("'running'")),
    Column("config", JSONB, nullable=False),
    Column("generation_id", Uuid),
    Column("generation", Text),
    Column("fingerprint", JSONB(none_as_null=True)),
    Column("attempt", Text),
    Column("degraded", Text),
    Column("quality", JSONB(none_as_null=True)),
    Column("points", Integer),
    Column("sampled", Integer),
    Column("details", JSONB(none_as_null=True)),
    Column("files", JSONB(none_as_null=True)),
    Column("error_code", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("began_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Index("ix_projections_newest", "collection_id", "created_at"),
    Index("ix_projections_running", "created_at", postgresql_where=text("state = 'running'")),
)
