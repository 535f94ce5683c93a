"""Judged queries: those that people bring, and what they think of hits.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

DATASET = "benchmark_datasets.id"


def upgrade() -> None:
    """Apply."""
    _create_datasets()
    _create_judgments()


def downgrade() -> None:
    """Undo."""
    for table in ("search_judgments", "benchmark_judgments", "benchmark_queries", "benchmark_datasets"):
        op.drop_table(table)


def _create_datasets() -> None:
    op.create_table(
        "benchmark_datasets",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("notes", ARRAY(sa.Text), nullable=False),
        sa.Column("queries", sa.Integer, nullable=False),
        sa.Column("judgments", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.UniqueConstraint("user_id", "name"),
    )
    op.create_table(
        "benchmark_queries",
        sa.Column("dataset_id", sa.Uuid, sa.ForeignKey(DATASET, ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("query_id", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.UniqueConstraint("dataset_id", "query_id"),
    )
    op.create_table(
        "benchmark_judgments",
        sa.Column("dataset_id", sa.Uuid, sa.ForeignKey(DATASET, ondelete="CASCADE"), primary_key=True),
        sa.Column("query", sa.Integer, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("doc", sa.Text, nullable=False),
        sa.Column("grade", sa.SmallInteger, nullable=False),
    )


def _create_judgments() -> None:
    op.create_table(
        "search_judgments",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("collection_id", sa.Uuid, sa.ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("document_id", sa.Uuid, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("grade", sa.SmallInteger, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_index(
        "uq_search_judgments_of_user",
        "search_judgments",
        ["collection_id", "user_id", sa.text("md5(query)"), "document_id"],
        unique=True,
    )
