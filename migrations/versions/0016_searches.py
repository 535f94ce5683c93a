"""What is remembered of searches, and which switches of a generation are watched.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _create_log()
    _create_health()
    op.add_column("generations", sa.Column("watch", JSONB(none_as_null=True)))
    op.create_index(
        "ix_generations_watched", "generations", ["activated_at"], postgresql_where=sa.text("watch IS NOT NULL")
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_generations_watched", "generations")
    op.drop_column("generations", "watch")
    for table in ("search_health", "search_log_entries", "search_logs"):
        op.drop_table(table)


def _create_log() -> None:
    op.create_table(
        "search_logs",
        sa.Column("collection_id", sa.Uuid, sa.ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("keep_days", sa.Integer, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("day", sa.Date),
        sa.Column("today", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "search_log_entries",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column(
            "collection_id", sa.Uuid, sa.ForeignKey("search_logs.collection_id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("generation_id", sa.Uuid, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("caller", sa.LargeBinary, nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("most_hits", sa.Integer, nullable=False),
        sa.Column("hits", sa.Integer, nullable=False),
        sa.Column("took_ms", sa.Double, nullable=False),
    )
    op.create_index("ix_search_log_entries_newest", "search_log_entries", ["collection_id", "at"])


def _create_health() -> None:
    op.create_table(
        "search_health",
        sa.Column("generation_id", sa.Uuid, sa.ForeignKey("generations.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("minute", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("searches", sa.BigInteger, nullable=False),
        sa.Column("empty", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("of_store", sa.BigInteger, nullable=False),
        sa.Column("of_model", sa.BigInteger, nullable=False),
        sa.Column("milliseconds", sa.Double, nullable=False),
    )
    op.create_index("ix_search_health_minute", "search_health", ["minute"])
