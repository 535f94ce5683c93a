"""How the words of a collection are weighed and told apart.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    for table in ("generations", "collections"):
        op.add_column(table, sa.Column("sparse_settings", JSONB, nullable=False, server_default=sa.text("'{}'")))


def downgrade() -> None:
    """Undo."""
    for table in ("collections", "generations"):
        op.drop_column(table, "sparse_settings")
