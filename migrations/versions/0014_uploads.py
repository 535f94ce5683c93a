"""Files that people have sent to their collections, and files of the folder of uploads that no row knows.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "uploads",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("collection_id", sa.Uuid, nullable=False),
        sa.Column("source_id", sa.Uuid, nullable=False),
        sa.Column("path", sa.Text(collation="C"), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("received", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("sha256", sa.LargeBinary),
        sa.Column("indexes", sa.Boolean, nullable=False),
        sa.Column("storage", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("completed_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("storage", name=op.f("uq_uploads_storage")),
        *(
            sa.ForeignKeyConstraint(
                [f"{above}_id"], [f"{above}s.id"], name=op.f(f"fk_uploads_{above}_id_{above}s"), ondelete="CASCADE"
            )
            for above in ("user", "collection", "source")
        ),
    )
    complete, receiving = sa.text("state = 'complete'"), sa.text("state = 'receiving'")
    op.create_index(
        "uq_uploads_complete_path",
        "uploads",
        ["source_id", sa.text("md5(path)")],
        unique=True,
        postgresql_where=complete,
    )
    op.create_index("ix_uploads_source_path", "uploads", ["source_id", "path", "id"])
    op.create_index("ix_uploads_user_id", "uploads", ["user_id"])
    op.create_index("ix_uploads_collection_id", "uploads", ["collection_id"])
    op.create_index("ix_uploads_expires_at", "uploads", ["expires_at"], postgresql_where=receiving)
    op.create_table(
        "unknown_uploads",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("unknown_uploads")
    op.drop_table("uploads")
