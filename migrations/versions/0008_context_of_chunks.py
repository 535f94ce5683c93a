"""The headings over a chunk, and the larger span that is shown for it.

Every new column may be empty, so that workers of the version before go on beside new ones.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("chunks", sa.Column("headings", ARRAY(sa.Text)))
    op.add_column("chunks", sa.Column("parent_start", sa.Integer))
    op.add_column("chunks", sa.Column("parent_end", sa.Integer))


def downgrade() -> None:
    """Undo."""
    op.drop_column("chunks", "parent_end")
    op.drop_column("chunks", "parent_start")
    op.drop_column("chunks", "headings")
