"""Several workers share the documents of one operation.

A worker of the version before takes no lanes and does not know that a document is in one; it only works beside lanes
of operations that it does not execute itself, and those give their documents back themselves.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "lane_offers",
        sa.Column("operation_id", sa.Uuid, primary_key=True),
        sa.Column("token", sa.Uuid, nullable=False),
        sa.Column("source_id", sa.Uuid, nullable=False),
        sa.Column("scan", sa.Uuid, nullable=False),
        sa.Column("generation_id", sa.Uuid, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.ForeignKeyConstraint(
            ["operation_id"],
            ["operations.id"],
            name=op.f("fk_lane_offers_operation_id_operations"),
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "lanes",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("operation_id", sa.Uuid, nullable=False),
        sa.Column("token", sa.Uuid, nullable=False),
        sa.Column("source_id", sa.Uuid, nullable=False),
        sa.Column("worker_id", sa.Uuid, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.ForeignKeyConstraint(
            ["operation_id"], ["operations.id"], name=op.f("fk_lanes_operation_id_operations"), ondelete="CASCADE"
        ),
        sa.UniqueConstraint("operation_id", "worker_id", name=op.f("uq_lanes_operation_id_worker_id")),
    )
    op.add_column("documents", sa.Column("lane", sa.Uuid))


def downgrade() -> None:
    """Undo."""
    op.drop_column("documents", "lane")
    op.drop_table("lanes")
    op.drop_table("lane_offers")
