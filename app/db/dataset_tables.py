"""Tables of judged queries; part of the metadata of ``app/db/tables.py``."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from app.db.tables import metadata

# `queries` and `judgments` are how many it has; `fingerprint` hashes them. It is written at once and never changed.
benchmark_datasets = Table(
    "benchmark_datasets",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("notes", ARRAY(Text), nullable=False),
    Column("queries", Integer, nullable=False),
    Column("judgments", Integer, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("user_id", "name"),
)

benchmark_queries = Table(
    "benchmark_queries",
    metadata,
    Column("dataset_id", ForeignKey("benchmark_datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("query_id", Text, nullable=False),
    Column("text", Text, nullable=False),
    UniqueConstraint("dataset_id", "query_id"),
)

# `query` is the position of its query, `position` its own among those.
benchmark_judgments = Table(
    "benchmark_judgments",
    metadata,
    Column("dataset_id", ForeignKey("benchmark_datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("query", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("doc", Text, nullable=False),
    Column("grade", SmallInteger, nullable=False),
)

# What somebody who searched thought of a document, the last time. The document may be gone meanwhile.
search_judgments = Table(
    "search_judgments",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("query", Text, nullable=False),
    Column("document_id", Uuid, nullable=False),
    Column("uri", Text, nullable=False),
    Column("grade", SmallInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("uq_search_judgments_of_user", "collection_id", "user_id", text("md5(query)"), "document_id", unique=True),
)
