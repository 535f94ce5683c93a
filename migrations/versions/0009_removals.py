"""Documents of several sources, and collections that go.

The name of a deleted collection is free at once. Its operations outlive it: they keep its name, and write no more.
Workers of the version before go on beside new ones: they never claim a kind that they do not know, and a document they
take over from another source is shared again by the next scan of that.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

OPERATIONS_KEY = "fk_operations_collection_id_collections"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "document_sources",
        sa.Column("document_id", sa.Uuid, nullable=False),
        sa.Column("source_id", sa.Uuid, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("seen_by", sa.Uuid),
        sa.PrimaryKeyConstraint("document_id", "source_id", name=op.f("pk_document_sources")),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["documents.id"],
            name=op.f("fk_document_sources_document_id_documents"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["source_id"], ["sources.id"], name=op.f("fk_document_sources_source_id_sources"), ondelete="CASCADE"
        ),
    )
    op.create_index("ix_document_sources_source_id", "document_sources", ["source_id"])
    op.add_column("documents", sa.Column("stale_labels", sa.Text))
    op.create_index(
        "ix_documents_stale_labels",
        "documents",
        ["collection_id"],
        postgresql_where=sa.text("stale_labels IS NOT NULL"),
    )
    op.add_column("collections", sa.Column("deleted_at", sa.DateTime(timezone=True)))
    op.create_index(
        "uq_collections_live_name",
        "collections",
        ["user_id", "name"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.drop_constraint(op.f("uq_collections_user_id_name"), "collections", type_="unique")
    op.add_column("operations", sa.Column("former_collection", sa.Text))
    op.drop_constraint(op.f(OPERATIONS_KEY), "operations", type_="foreignkey")
    op.create_foreign_key(
        op.f(OPERATIONS_KEY), "operations", "collections", ["collection_id"], ["id"], ondelete="SET NULL"
    )


def downgrade() -> None:
    """Undo."""
    op.execute("DELETE FROM operations WHERE former_collection IS NOT NULL")
    op.execute("DELETE FROM collections WHERE deleted_at IS NOT NULL")
    op.drop_constraint(op.f(OPERATIONS_KEY), "operations", type_="foreignkey")
    op.create_foreign_key(
        op.f(OPERATIONS_KEY), "operations", "collections", ["collection_id"], ["id"], ondelete="CASCADE"
    )
    op.drop_column("operations", "former_collection")
    op.drop_index("uq_collections_live_name", table_name="collections")
    op.drop_column("collections", "deleted_at")
    op.create_unique_constraint(op.f("uq_collections_user_id_name"), "collections", ["user_id", "name"])
    op.drop_index("ix_documents_stale_labels", table_name="documents")
    op.drop_column("documents", "stale_labels")
    op.drop_table("document_sources")
