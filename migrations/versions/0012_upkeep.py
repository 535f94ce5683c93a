"""Periodic jobs and what they find: their rounds, statistics of collections, the health of partitions.

Workers of the version before go on beside new ones: they keep their own ticks in ``cron_ticks``.

Revision ID: 0012
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

FINAL = "state IN ('completed', 'failed', 'cancelled')"


def upgrade() -> None:
    """Apply."""
    _create_periodic_tables()
    op.create_table(
        "installations",
        sa.Column("place", sa.Text, primary_key=True),
        sa.Column("marker", sa.Text, nullable=False),
    )
    op.create_table(
        "unknown_collections",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "collection_stats",
        sa.Column("collection_id", sa.Uuid, primary_key=True),
        sa.Column("taken_at", sa.DateTime(timezone=True), primary_key=True, server_default=sa.func.now()),
        sa.Column("documents", sa.BigInteger, nullable=False),
        sa.Column("chunks", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("details", JSONB, nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collections.id"],
            name=op.f("fk_collection_stats_collection_id_collections"),
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "partition_health",
        sa.Column("taken_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("dead_rows", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("skew", sa.Double, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("action", sa.Text),
        sa.Column("last_vacuum_at", sa.DateTime(timezone=True)),
        sa.Column("last_analyze_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_operations_finished", "operations", ["finished_at"], postgresql_where=sa.text(FINAL))


def _create_periodic_tables() -> None:
    op.create_table(
        "periodic_jobs",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("every_seconds", sa.Double, nullable=False),
        sa.Column("phase_seconds", sa.Double, nullable=False),
        sa.Column("limit_seconds", sa.Double, nullable=False),
        sa.Column("next_run_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("round_id", sa.Uuid),
        sa.Column("running_until", sa.DateTime(timezone=True)),
        sa.Column("worker", sa.Text),
        sa.Column("last_run_at", sa.DateTime(timezone=True)),
        sa.Column("last_success_at", sa.DateTime(timezone=True)),
        sa.Column("last_seconds", sa.Double),
        sa.Column("last_result", JSONB),
        sa.Column("last_error_code", sa.Text),
        sa.Column("last_error_message", sa.Text),
        sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "periodic_rounds",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("dry_run", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("seconds", sa.Double),
        sa.Column("result", JSONB),
        sa.Column("error_code", sa.Text),
        sa.Column("error_message", sa.Text),
    )
    op.create_index("ix_periodic_rounds_job", "periodic_rounds", ["job", sa.text("started_at DESC")])


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_operations_finished", table_name="operations")
    for table in (
        "partition_health",
        "collection_stats",
        "unknown_collections",
        "installations",
        "periodic_rounds",
        "periodic_jobs",
    ):
        op.drop_table(table)
