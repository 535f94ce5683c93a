"""Tables of benchmarks; part of the metadata of ``app/db/tables.py``."""

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.db.tables import metadata

# What a benchmark is measured with stays known once its dataset is deleted. `mapping` is what judged documents were in
# the collection when it began: a later attempt measures with the same.
benchmarks = Table(
    "benchmarks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("operation_id", Uuid),
    Column("dataset_id", ForeignKey("benchmark_datasets.id", ondelete="SET NULL"), index=True),
    Column("dataset_name", Text),
    Column("dataset_fingerprint", LargeBinary),
    Column("is_synthetic", Boolean, nullable=False, server_default=text("false")),
    Column("state", Text, nullable=False, server_default=text("'running'")),
    Column("config", JSONB, nullable=False),
    Column("mapping", JSONB(none_as_null=True)),
    Column("report", JSONB(none_as_null=True)),
    Column("error_code", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
    Index("ix_benchmarks_newest", "collection_id", "created_at"),
    Index("ix_benchmarks_running", "created_at", postgresql_where=text("state = 'running'")),
)

# `per_query` has a list of numbers for each measure, in the order of its `query_ids`.
benchmark_runs = Table(
    "benchmark_runs",
    metadata,
    Column("benchmark_id", ForeignKey("benchmarks.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("generation_id", Uuid, nullable=False),
    Column("generation", Text, nullable=False),
    Column("per_query", JSONB(none_as_null=True)),
)

# `documents` holds ids of 16 bytes each, `scores` a float32 for each of them.
benchmark_results = Table(
    "benchmark_results",
    metadata,
    Column("benchmark_id", ForeignKey("benchmarks.id", ondelete="CASCADE"), primary_key=True),
    Column("run", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("query_id", Text, nullable=False),
    Column("documents", LargeBinary, nullable=False),
    Column("scores", LargeBinary, nullable=False),
    Column("embed_ms", Double, nullable=False),
    Column("search_ms", Double, nullable=False),
    Column("error_code", Text),
)

# Benchmarks that are run again and again. `generation_id` is the one that was active when the last one was created.
attached_benchmarks = Table(
    "attached_benchmarks",
    metadata,
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True),
    Column("dataset_id", ForeignKey("benchmark_datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("is_gate", Boolean, nullable=False),
    Column("after_reindex", Boolean, nullable=False),
    Column("every_seconds", Integer),
    Column("next_at", DateTime(timezone=True)),
    Column("generation_id", Uuid),
    Column("config", JSONB, nullable=False),
    Column("last_benchmark_id", Uuid),
    Column("last_error_code", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
