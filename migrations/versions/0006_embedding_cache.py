"""Vectors that a model has made before.

A table of its own: workers of the version before do not know it.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "embedding_cache",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("used_on", sa.Date, nullable=False, server_default=sa.text("current_date")),
    )
    # numbers of half precision are noise to a compressor
    op.execute("ALTER TABLE embedding_cache ALTER COLUMN vector SET STORAGE EXTERNAL")
    op.create_index("ix_embedding_cache_used_on", "embedding_cache", ["used_on"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("embedding_cache")
