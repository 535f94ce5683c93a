"""What a generation that is being rebuilt, or that was replaced, holds of each document.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "generation_documents",
        sa.Column("generation_id", sa.Uuid, nullable=False),
        sa.Column("document_id", sa.Uuid, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("version", sa.DateTime(timezone=True)),
        sa.Column("labels", sa.Text),
        sa.Column("chunk_count", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tokens", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("points_dirty", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("error_code", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("lane", sa.Uuid),
        sa.PrimaryKeyConstraint("generation_id", "document_id", name=op.f("pk_generation_documents")),
        sa.ForeignKeyConstraint(
            ["generation_id"],
            ["generations.id"],
            name=op.f("fk_generation_documents_generation_id_generations"),
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_generation_documents_pending",
        "generation_documents",
        ["generation_id", "document_id"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_generation_documents_claimed",
        "generation_documents",
        ["generation_id"],
        postgresql_where=sa.text("state = 'claimed'"),
    )
    op.create_index(
        "ix_generation_documents_dirty",
        "generation_documents",
        ["generation_id"],
        postgresql_where=sa.text("points_dirty"),
    )
    # what lanes of a rebuild work on is of no one source
    for table, column in (("lane_offers", "source_id"), ("lane_offers", "scan"), ("lanes", "source_id")):
        op.alter_column(table, column, nullable=True)
    op.add_column("generations", sa.Column("operation_id", sa.Uuid))
    op.add_column("generations", sa.Column("index_settings", JSONB, nullable=False, server_default=sa.text("'{}'")))
    op.add_column("collections", sa.Column("index_settings", JSONB, nullable=False, server_default=sa.text("'{}'")))
    op.create_index(
        "ix_generations_building", "generations", ["created_at"], postgresql_where=sa.text("state = 'building'")
    )
    op.add_column("chunks", sa.Column("gap", sa.Text))
    op.add_column(
        "operations", sa.Column("wants_to_write", sa.Boolean, nullable=False, server_default=sa.text("false"))
    )
    op.create_index(
        "uq_operations_one_rebuild",
        "operations",
        ["collection_id"],
        unique=True,
        postgresql_where=sa.text(
            "kind IN ('REINDEX', 'ROLLBACK') AND state IN ('pending', 'running')"
            " AND (config ->> 'dry_run') IS DISTINCT FROM 'true'"
        ),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index("uq_operations_one_rebuild", "operations")
    op.drop_column("operations", "wants_to_write")
    op.drop_column("chunks", "gap")
    op.drop_index("ix_generations_building", "generations")
    op.drop_column("collections", "index_settings")
    op.drop_column("generations", "index_settings")
    op.drop_column("generations", "operation_id")
    op.execute("DELETE FROM lanes WHERE source_id IS NULL")
    op.execute("DELETE FROM lane_offers WHERE source_id IS NULL")
    for table, column in (("lane_offers", "source_id"), ("lane_offers", "scan"), ("lanes", "source_id")):
        op.alter_column(table, column, nullable=False)
    op.drop_table("generation_documents")
