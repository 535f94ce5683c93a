"""Browser sessions.

Revision ID: 0021
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def _moments() -> tuple[sa.Column[object], sa.Column[object]]:
    return (
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )


def _key() -> sa.Column[object]:
    return sa.Column("key_id", sa.Uuid, sa.ForeignKey("api_keys.id", ondelete="CASCADE"), nullable=False)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "browser_sessions",
        sa.Column("id", sa.Uuid, primary_key=True),
        _key(),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        *_moments(),
    )
    op.create_index("ix_browser_sessions_key_id", "browser_sessions", ["key_id"])
    op.create_table("sign_in_codes", sa.Column("hash", sa.LargeBinary, primary_key=True), _key(), *_moments())
    op.create_index("ix_sign_in_codes_key_id", "sign_in_codes", ["key_id"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("sign_in_codes")
    op.drop_table("browser_sessions")
