"""Projections.

Revision ID: 0020
Revises: 0019
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "projections",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("collection_id", sa.Uuid, sa.ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("operation_id", sa.Uuid),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'running'")),
        sa.Column("config", JSONB, nullable=False),
        sa.Column("generation_id", sa.Uuid),
        sa.Column("generation", sa.Text),
        sa.Column("fingerprint", JSONB(none_as_null=True)),
        sa.Column("attempt", sa.Text),
        sa.Column("degraded", sa.Text),
        sa.Column("quality", JSONB(none_as_null=True)),
        sa.Column("points", sa.Integer),
        sa.Column("sampled", sa.Integer),
        sa.Column("details", JSONB(none_as_null=True)),
        sa.Column("files", JSONB(none_as_null=True)),
        sa.Column("error_code", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("began_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_projections_newest", "projections", ["collection_id", "created_at"])
    op.create_index(
        "ix_projections_running", "projections", ["created_at"], postgresql_where=sa.text("state = 'running'")
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("projections")
