"""An operation that plans for a collection that does not exist has none; one that writes always has one.

Workers of the version before go on beside new ones: they never claim a kind that they do not know.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.alter_column("operations", "collection_id", nullable=True)
    op.create_check_constraint(
        op.f("ck_operations_writer_has_collection"), "operations", "collection_id IS NOT NULL OR NOT writes"
    )


def downgrade() -> None:
    """Undo."""
    op.execute("DELETE FROM operations WHERE collection_id IS NULL")
    op.drop_constraint(op.f("ck_operations_writer_has_collection"), "operations", type_="check")
    op.alter_column("operations", "collection_id", nullable=False)
