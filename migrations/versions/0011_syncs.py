"""Continuous sync: its settings, its runs, failing sources, and since when a document is gone.

Workers of the version before go on beside new ones, but bring every source up to date as before: they remove what is
gone. Ask for ``incremental``, ``keep`` and ``mark`` when the last of them has been replaced.

Revision ID: 0011
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def _time(name: str, *, nullable: bool = True) -> sa.Column[object]:
    default = None if nullable else sa.func.now()
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def _belongs_to(table: str, column: str, owners: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{owners}")
    return sa.ForeignKeyConstraint([column], [f"{owners}.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    """Apply."""
    op.add_column("documents", sa.Column("gone_since", sa.DateTime(timezone=True)))
    op.create_table(
        "collection_syncs",
        sa.Column("collection_id", sa.Uuid, primary_key=True),
        sa.Column("interval_seconds", sa.Integer, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        _time("paused_at"),
        sa.Column("next_due", sa.DateTime(timezone=True), nullable=False),
        _time("created_at", nullable=False),
        _belongs_to("collection_syncs", "collection_id", "collections"),
    )
    op.create_index(
        "ix_collection_syncs_due", "collection_syncs", ["next_due"], postgresql_where=sa.text("paused_at IS NULL")
    )
    op.create_table(
        "source_syncs",
        sa.Column("source_id", sa.Uuid, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("error_code", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("next_try", sa.DateTime(timezone=True), nullable=False),
        _belongs_to("source_syncs", "source_id", "sources"),
    )
    _create_runs()


def _create_runs() -> None:
    op.create_table(
        "sync_runs",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("seq", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("collection_id", sa.Uuid, nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("confirm_removals", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        _time("started_at", nullable=False),
        _time("finished_at"),
        _belongs_to("sync_runs", "collection_id", "collections"),
    )
    op.create_index("ix_sync_runs_history", "sync_runs", ["collection_id", sa.text("seq DESC")])
    op.create_index(
        "uq_sync_runs_one_running",
        "sync_runs",
        ["collection_id"],
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "sync_run_sources",
        sa.Column("run_id", sa.Uuid, primary_key=True),
        sa.Column("source_id", sa.Uuid, primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("operation_id", sa.Uuid),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("result", JSONB),
        sa.Column("error_code", sa.Text),
        sa.Column("error_message", sa.Text),
        _time("finished_at"),
        _belongs_to("sync_run_sources", "run_id", "sync_runs"),
    )
    op.create_index(
        "ix_sync_run_sources_running",
        "sync_run_sources",
        ["operation_id"],
        postgresql_where=sa.text("state = 'running'"),
    )


def downgrade() -> None:
    """Undo."""
    for table in ("sync_run_sources", "sync_runs", "source_syncs", "collection_syncs"):
        op.drop_table(table)
    op.drop_column("documents", "gone_since")
