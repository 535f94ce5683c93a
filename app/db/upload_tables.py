"""Tables of what people send; part of the metadata of ``app/db/tables.py``."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from app.db.tables import metadata

# A file that somebody has sent, or is sending. `size` is not known before the end of one that came in a form; `sha256`
# of one that is not complete is what its sender says it will be. `storage` is its name in the folder of uploads.
uploads = Table(
    "uploads",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("source_id", ForeignKey("sources.id", ondelete="CASCADE"), nullable=False),
    Column("path", Text(collation="C"), nullable=False),
    Column("state", Text, nullable=False),
    Column("size", BigInteger),
    Column("received", BigInteger, nullable=False, server_default=text("0")),
    Column("sha256", LargeBinary),
    Column("indexes", Boolean, nullable=False),
    Column("storage", Text, nullable=False, unique=True),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    Column("completed_at", DateTime(timezone=True)),
    Index(
        "uq_uploads_complete_path",
        "source_id",
        text("md5(path)"),
        unique=True,
        postgresql_where=text("state = 'complete'"),
    ),
    Index("ix_uploads_source_path", "source_id", "path", "id"),
    Index("ix_uploads_expires_at", "expires_at", postgresql_where=text("state = 'receiving'")),
)

# Files of the folder of uploads with our marker that no row knows, since when that is so.
unknown_uploads = Table(
    "unknown_uploads",
    metadata,
    Column("name", Text, primary_key=True),
    Column("first_seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
