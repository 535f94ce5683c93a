"""Benchmarks, their runs and results, and datasets that are attached to collections.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _create_benchmarks()
    _create_runs()
    _create_attached()


def downgrade() -> None:
    """Undo."""
    for table in ("attached_benchmarks", "benchmark_results", "benchmark_runs", "benchmarks"):
        op.drop_table(table)


def _create_benchmarks() -> None:
    op.create_table(
        "benchmarks",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("collection_id", sa.Uuid, sa.ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("operation_id", sa.Uuid),
        sa.Column("dataset_id", sa.Uuid, sa.ForeignKey("benchmark_datasets.id", ondelete="SET NULL")),
        sa.Column("dataset_name", sa.Text),
        sa.Column("dataset_fingerprint", sa.LargeBinary),
        sa.Column("is_synthetic", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'running'")),
        sa.Column("config", JSONB, nullable=False),
        sa.Column("mapping", JSONB(none_as_null=True)),
        sa.Column("report", JSONB(none_as_null=True)),
        sa.Column("error_code", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_benchmarks_newest", "benchmarks", ["collection_id", "created_at"])
    op.create_index("ix_benchmarks_dataset_id", "benchmarks", ["dataset_id"])
    op.create_index(
        "ix_benchmarks_running", "benchmarks", ["created_at"], postgresql_where=sa.text("state = 'running'")
    )


def _create_runs() -> None:
    benchmark = sa.ForeignKey("benchmarks.id", ondelete="CASCADE")
    op.create_table(
        "benchmark_runs",
        sa.Column("benchmark_id", sa.Uuid, benchmark, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("settings", JSONB, nullable=False),
        sa.Column("generation_id", sa.Uuid, nullable=False),
        sa.Column("generation", sa.Text, nullable=False),
        sa.Column("per_query", JSONB(none_as_null=True)),
    )
    op.create_table(
        "benchmark_results",
        sa.Column("benchmark_id", sa.Uuid, sa.ForeignKey("benchmarks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("run", sa.Integer, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("query_id", sa.Text, nullable=False),
        sa.Column("documents", sa.LargeBinary, nullable=False),
        sa.Column("scores", sa.LargeBinary, nullable=False),
        sa.Column("embed_ms", sa.Double, nullable=False),
        sa.Column("search_ms", sa.Double, nullable=False),
        sa.Column("error_code", sa.Text),
    )


def _create_attached() -> None:
    op.create_table(
        "attached_benchmarks",
        sa.Column("collection_id", sa.Uuid, sa.ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("dataset_id", sa.Uuid, sa.ForeignKey("benchmark_datasets.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("is_gate", sa.Boolean, nullable=False),
        sa.Column("after_reindex", sa.Boolean, nullable=False),
        sa.Column("every_seconds", sa.Integer),
        sa.Column("next_at", sa.DateTime(timezone=True)),
        sa.Column("generation_id", sa.Uuid),
        sa.Column("config", JSONB, nullable=False),
        sa.Column("last_benchmark_id", sa.Uuid),
        sa.Column("last_error_code", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
