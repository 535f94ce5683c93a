"""Copies of documents are found by their content.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_documents_content", "documents", ["collection_id", "content_hash"])


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_documents_content", table_name="documents")
