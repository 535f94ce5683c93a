"""Tables of what is remembered of searches; part of the metadata of ``app/db/tables.py``."""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from app.db.tables import metadata

# A collection whose searches are written down; one without a row has no log. `key` hashes who asked, and goes with the
# log. `today` counts the entries of `day`, so that a log has an end.
search_logs = Table(
    "search_logs",
    metadata,
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True),
    Column("share", Double, nullable=False),
    Column("keep_days", Integer, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("day", Date),
    Column("today", Integer, nullable=False, server_default=text("0")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

search_log_entries = Table(
    "search_log_entries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("collection_id", ForeignKey("search_logs.collection_id", ondelete="CASCADE"), nullable=False),
    Column("generation_id", Uuid, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("caller", LargeBinary, nullable=False),
    Column("query", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("most_hits", Integer, nullable=False),
    Column("hits", Integer, nullable=False),
    Column("took_ms", Double, nullable=False),
    Index("ix_search_log_entries_newest", "collection_id", "at"),
)

# What became of all searches of a generation, without a word of them. Of the failures, `of_store` are those in which
# a store did not answer, `of_model` those in which the model did not.
search_health = Table(
    "search_health",
    metadata,
    Column("generation_id", ForeignKey("generations.id", ondelete="CASCADE"), primary_key=True),
    Column("minute", DateTime(timezone=True), primary_key=True),
    Column("searches", BigInteger, nullable=False),
    Column("empty", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("of_store", BigInteger, nullable=False),
    Column("of_model", BigInteger, nullable=False),
    Column("milliseconds", Double, nullable=False),
    Index("ix_search_health_minute", "minute"),
)
