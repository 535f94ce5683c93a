"""What an operation has done in all its attempts, and what it found each document to be.

Every new column may be empty, so that workers of the version before go on beside new ones.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "operation_totals",
        sa.Column("operation_id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("amount", sa.Double, nullable=False),
        sa.ForeignKeyConstraint(
            ["operation_id"],
            ["operations.id"],
            name=op.f("fk_operation_totals_operation_id_operations"),
            ondelete="CASCADE",
        ),
    )
    op.add_column("documents", sa.Column("change", sa.Text))
    op.add_column("documents", sa.Column("changed_by", sa.Uuid))


def downgrade() -> None:
    """Undo."""
    op.drop_column("documents", "changed_by")
    op.drop_column("documents", "change")
    op.drop_table("operation_totals")
