"""Workers that are known by their session, pauses, priorities, and what an operation has run in all.

Every new column may be empty or has a default, so that workers of the version before go on beside new ones.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ALIVE = sa.text("state IN ('pending', 'running')")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("kinds", ARRAY(sa.Text), nullable=False),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("lease_seconds", sa.Double, nullable=False),
        sa.Column("lock_key", sa.Integer, sa.Identity(always=True, cycle=True), nullable=False),
        sa.Column("locked_at", sa.DateTime(timezone=True)),
        sa.Column("missing_since", sa.DateTime(timezone=True)),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("stopped_at", sa.DateTime(timezone=True)),
        sa.Index("ix_workers_alive", "heartbeat_at", postgresql_where=sa.text("stopped_at IS NULL")),
    )
    op.add_column("collections", sa.Column("paused_at", sa.DateTime(timezone=True)))
    op.add_column("operations", sa.Column("worker_id", sa.Uuid))
    op.add_column("operations", sa.Column("priority", sa.SmallInteger, nullable=False, server_default=sa.text("1")))
    op.add_column("operations", sa.Column("paused_at", sa.DateTime(timezone=True)))
    op.add_column("operations", sa.Column("attempt_started_at", sa.DateTime(timezone=True)))
    op.add_column("operations", sa.Column("ran_seconds", sa.Double, nullable=False, server_default=sa.text("0")))
    op.add_column("operations", sa.Column("trace_parent", sa.Text))
    op.create_index("ix_operations_alive", "operations", ["state"], postgresql_where=ALIVE)


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_operations_alive", table_name="operations")
    for name in ("trace_parent", "ran_seconds", "attempt_started_at", "paused_at", "priority", "worker_id"):
        op.drop_column("operations", name)
    op.drop_column("collections", "paused_at")
    op.drop_table("workers")
