"""What a source names versions of its documents by, and what pages lead to.

Every new column may be empty, so that workers of the version before go on beside new ones.

Revision ID: 0010
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("documents", sa.Column("etag", sa.Text))
    op.add_column("documents", sa.Column("links", ARRAY(sa.Text)))


def downgrade() -> None:
    """Undo."""
    op.drop_column("documents", "links")
    op.drop_column("documents", "etag")
