"""Tables of the first slice. Migrations are written against this metadata (``alembic check``)."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

CHUNK_PARTITIONS = 32
FINAL = "state IN ('completed', 'failed', 'cancelled')"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _created_at() -> Column[object]:
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now())


users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _created_at(),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("scopes", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    _created_at(),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
)

collections = Table(
    "collections",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("chunking", JSONB, nullable=False),
    Column("sparse", Boolean, nullable=False, server_default=text("true")),
    Column("active_generation_id", Uuid),
    _created_at(),
    Column("paused_at", DateTime(timezone=True)),
    # it is gone for everybody but the operation that clears it away; its name is free
    Column("deleted_at", DateTime(timezone=True)),
    Column("index_settings", JSONB, nullable=False, server_default=text("'{}'")),
    Column("sparse_settings", JSONB, nullable=False, server_default=text("'{}'")),
    Index("uq_collections_live_name", "user_id", "name", unique=True, postgresql_where=text("deleted_at IS NULL")),
)

generations = Table(
    "generations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("canaries", LargeBinary, nullable=False),
    Column("chunking", JSONB, nullable=False),
    _created_at(),
    Column("activated_at", DateTime(timezone=True)),
    Column("retired_at", DateTime(timezone=True)),
    Column("drop_after", DateTime(timezone=True)),
    # who builds it; the first one of a collection is built by whoever writes to it
    Column("operation_id", Uuid),
    Column("index_settings", JSONB, nullable=False, server_default=text("'{}'")),
    Column("sparse_settings", JSONB, nullable=False, server_default=text("'{}'")),
    Index("ix_generations_building", "created_at", postgresql_where=text("state = 'building'")),
    # how long after it became active searches are looked at, to go back if they got worse; none if nobody wants that
    Column("watch", JSONB(none_as_null=True)),
    Index("ix_generations_watched", "activated_at", postgresql_where=text("watch IS NOT NULL")),
    Index("uq_generations_one_active", "collection_id", unique=True, postgresql_where=text("state = 'active'")),
)

sources = Table(
    "sources",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("config", JSONB, nullable=False, server_default=text("'{}'")),
    Column("secrets", LargeBinary),
    _created_at(),
    Column("last_run_at", DateTime(timezone=True)),
    Column("last_result", JSONB),
    Index("uq_sources_collection_url", "collection_id", text("md5(url)"), unique=True),
)

# A document's identity is (collection, uri). Its id is derived from the two, so the primary key holds it unique
# and URIs may be longer than an index entry.
documents = Table(
    "documents",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    Column("source_id", ForeignKey("sources.id", ondelete="CASCADE"), nullable=False),
    Column("uri", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("record_offset", BigInteger),
    Column("record_length", BigInteger),
    Column("size", BigInteger, nullable=False),
    Column("modified_ns", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("content_hash", LargeBinary),
    Column("mime_type", Text),
    Column("title", Text),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("chunk_count", Integer, nullable=False, server_default=text("0")),
    Column("tokens", BigInteger, nullable=False, server_default=text("0")),
    # the store may hold points of this document that the manifest does not know
    Column("points_dirty", Boolean, nullable=False, server_default=text("false")),
    Column("seen_by", Uuid),
    # what the last operation that had to do something about this document found it to be, and which one that was
    Column("change", Text),
    Column("changed_by", Uuid),
    # which lane has it in hand, while it is processing; the operation's own worker is none
    Column("lane", Uuid),
    Column("last_seen_at", DateTime(timezone=True)),
    _created_at(),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # what filters see of its points is not what is true now: 'sources', or 'path' too
    Column("stale_labels", Text),
    # what its source names this version of it by, and what it leads to, as the last scan has found them
    Column("etag", Text),
    Column("links", ARRAY(Text)),
    # since when its source has not had it, where that is only noted
    Column("gone_since", DateTime(timezone=True)),
    Index("ix_documents_collection_state", "collection_id", "state"),
    Index("ix_documents_content", "collection_id", "content_hash"),
    Index("ix_documents_source_id", "source_id"),
    Index(
        "ix_documents_pending",
        "source_id",
        "position",
        postgresql_where=text("state = 'pending'"),
    ),
    Index("ix_documents_dirty", "source_id", postgresql_where=text("points_dirty")),
    Index("ix_documents_stale_labels", "collection_id", postgresql_where=text("stale_labels IS NOT NULL")),
)

# A chunk's id is its point's id. Partitioned so that vacuum, statistics and deletes stay small.
chunks = Table(
    "chunks",
    metadata,
    Column("collection_id", Uuid, primary_key=True),
    Column("generation_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("document_id", Uuid, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("start_char", Integer, nullable=False),
    Column("end_char", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("text", Text, nullable=False),
    # what stands above it, outermost first; its text is embedded under them
    Column("headings", ARRAY(Text)),
    Column("parent_start", Integer),
    Column("parent_end", Integer),
    # the white space between what chunks before it cover and it; none where an older version has written it
    Column("gap", Text),
    Index("ix_chunks_document", "collection_id", "generation_id", "document_id"),
    postgresql_partition_by="HASH (collection_id)",
)

# A plan for a collection that does not exist has none, nor has what outlives its collection. No writer is without: the
# index that lets one write at a time takes empty values for different ones.
operations = Table(
    "operations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("collection_id", ForeignKey("collections.id", ondelete="SET NULL")),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("writes", Boolean, nullable=False),
    Column("config", JSONB, nullable=False),
    Column("result", JSONB),
    Column("progress", JSONB),
    Column("dispatch", Integer, nullable=False, server_default=text("0")),
    Column("dispatched_at", DateTime(timezone=True)),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("interruptions", Integer, nullable=False, server_default=text("0")),
    Column("lease_token", Uuid),
    Column("lease_until", DateTime(timezone=True)),
    Column("heartbeat_at", DateTime(timezone=True)),
    Column("worker", Text),
    Column("why_waiting", Text),
    Column("cancel_requested_at", DateTime(timezone=True)),
    Column("run_after", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("idempotency_key", Text),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("retryable", Boolean),
    _created_at(),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("worker_id", Uuid),
    Column("priority", SmallInteger, nullable=False, server_default=text("1")),
    Column("paused_at", DateTime(timezone=True)),
    Column("attempt_started_at", DateTime(timezone=True)),
    Column("ran_seconds", Double, nullable=False, server_default=text("0")),
    Column("trace_parent", Text),
    # the name of the collection it was of, once that is gone
    Column("former_collection", Text),
    # it runs without being a writer, and will be one as soon as none runs; nobody goes before it
    Column("wants_to_write", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("collection_id IS NOT NULL OR NOT writes", name="ck_operations_writer_has_collection"),
    Index(
        "uq_operations_one_writer",
        "collection_id",
        unique=True,
        postgresql_where=text("writes AND state = 'running'"),
    ),
    Index("ix_operations_queue", "collection_id", "seq", postgresql_where=text("state IN ('pending', 'running')")),
    Index("ix_operations_alive", "state", postgresql_where=text("state IN ('pending', 'running')")),
    Index("ix_operations_user_created", "user_id", text("created_at DESC")),
    Index("ix_operations_finished", "finished_at", postgresql_where=text(FINAL)),
    Index(
        "uq_operations_idempotency",
        "user_id",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL AND state IN ('pending', 'running')"),
    ),
    Index(
        "uq_operations_one_rebuild",
        "collection_id",
        unique=True,
        postgresql_where=text(
            "kind IN ('REINDEX', 'ROLLBACK') AND state IN ('pending', 'running')"
            " AND (config ->> 'dry_run') IS DISTINCT FROM 'true'"
        ),
    ),
)

# What a generation holds that is not the active one, or was not when the row was written: of the active one `documents`
# says it. `version` is `documents.updated_at` of what it holds; a row stands before anything of a document is written.
generation_documents = Table(
    "generation_documents",
    metadata,
    Column("generation_id", ForeignKey("generations.id", ondelete="CASCADE"), primary_key=True),
    Column("document_id", Uuid, primary_key=True),
    Column("state", Text, nullable=False),
    Column("version", DateTime(timezone=True)),
    # what filters see of its points, hashed
    Column("labels", Text),
    Column("chunk_count", Integer, nullable=False, server_default=text("0")),
    Column("tokens", BigInteger, nullable=False, server_default=text("0")),
    # the store may hold points of it that the manifest does not know
    Column("points_dirty", Boolean, nullable=False, server_default=text("false")),
    # why it could not be built in the way that was asked for
    Column("error_code", Text),
    Column("error_message", Text),
    Column("lane", Uuid),
    Index(
        "ix_generation_documents_pending", "generation_id", "document_id", postgresql_where=text("state = 'pending'")
    ),
    Index("ix_generation_documents_claimed", "generation_id", postgresql_where=text("state = 'claimed'")),
    Index("ix_generation_documents_dirty", "generation_id", postgresql_where=text("points_dirty")),
)

# What all attempts at an operation have brought in: documents and these sums are committed together.
operation_totals = Table(
    "operation_totals",
    metadata,
    Column("operation_id", ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("amount", Double, nullable=False),
)

# An attempt whose documents other workers may share, until it has none left: of a source, or of a whole generation.
lane_offers = Table(
    "lane_offers",
    metadata,
    Column("operation_id", ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True),
    Column("token", Uuid, nullable=False),
    Column("source_id", Uuid),
    Column("scan", Uuid),
    Column("generation_id", Uuid, nullable=False),
    _created_at(),
)

# A worker that shares them now. Its documents are its own only while this row is there.
lanes = Table(
    "lanes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("operation_id", ForeignKey("operations.id", ondelete="CASCADE"), nullable=False),
    Column("token", Uuid, nullable=False),
    Column("source_id", Uuid),
    Column("worker_id", Uuid, nullable=False),
    Column("worker", Text, nullable=False),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("operation_id", "worker_id"),
)

# One row a worker process. Its session holds the advisory lock `lock_key` as long as the process lives.
workers = Table(
    "workers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("kinds", ARRAY(Text), nullable=False),
    Column("slots", Integer, nullable=False),
    Column("lease_seconds", Double, nullable=False),
    Column("lock_key", Integer, Identity(always=True, cycle=True), nullable=False),
    Column("locked_at", DateTime(timezone=True)),
    Column("missing_since", DateTime(timezone=True)),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("heartbeat_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("stopped_at", DateTime(timezone=True)),
    Index("ix_workers_alive", "heartbeat_at", postgresql_where=text("stopped_at IS NULL")),
)

# Vectors that a model has made before, whoever asked for them. `key` is a hash of the model and the text, `vector` half
# precision and a checksum; see app/pipeline/cache.py. `used_on` is a day, so that reading seldom writes.
embedding_cache = Table(
    "embedding_cache",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("vector", LargeBinary, nullable=False),
    Column("used_on", Date, nullable=False, server_default=text("current_date")),
    Index("ix_embedding_cache_used_on", "used_on"),
)

# Ticks of workers of an older version; this one keeps `periodic_jobs`.
cron_ticks = Table(
    "cron_ticks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("tick", DateTime(timezone=True), primary_key=True),
    Column("worker", Text),
)

# A source that a document has beside the one in its row: there are none but where sources overlap.
document_sources = Table(
    "document_sources",
    metadata,
    Column("document_id", ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
    Column("source_id", ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True),
    Column("path", Text, nullable=False),
    Column("seen_by", Uuid),
    Index("ix_document_sources_source_id", "source_id"),
)

# Continuous sync of a collection; one without a row has none.
collection_syncs = Table(
    "collection_syncs",
    metadata,
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True),
    Column("interval_seconds", Integer, nullable=False),
    Column("mode", Text, nullable=False),
    Column("paused_at", DateTime(timezone=True)),
    Column("next_due", DateTime(timezone=True), nullable=False),
    _created_at(),
    Index("ix_collection_syncs_due", "next_due", postgresql_where=text("paused_at IS NULL")),
)

# Failures of a source in sync runs, until an APPEND of it completes.
source_syncs = Table(
    "source_syncs",
    metadata,
    Column("source_id", ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("next_try", DateTime(timezone=True), nullable=False),
)

sync_runs = Table(
    "sync_runs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    Column("trigger", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("confirm_removals", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
    Index("ix_sync_runs_history", "collection_id", text("seq DESC")),
    Index("uq_sync_runs_one_running", "collection_id", unique=True, postgresql_where=text("state = 'running'")),
)

# Neither the source nor the operation need exist any more: this is what was.
sync_run_sources = Table(
    "sync_run_sources",
    metadata,
    Column("run_id", ForeignKey("sync_runs.id", ondelete="CASCADE"), primary_key=True),
    Column("source_id", Uuid, primary_key=True),
    Column("url", Text, nullable=False),
    Column("operation_id", Uuid),
    Column("state", Text, nullable=False),
    Column("result", JSONB),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("finished_at", DateTime(timezone=True)),
    Index("ix_sync_run_sources_running", "operation_id", postgresql_where=text("state = 'running'")),
)

# Who changed what. It outlives what it tells of: no foreign keys, names copied. The row of an operation's end is
# written by the trigger `operations_ended`, like those of `webhook_deliveries`; see docs/decisions/0027.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("owner_id", Uuid, nullable=False),
    Column("action", Text, nullable=False),
    Column("actor_kind", Text, nullable=False),
    Column("actor_id", Uuid),
    Column("actor_name", Text),
    Column("key_id", Uuid),
    Column("key_name", Text),
    Column("address", Text),
    Column("request_id", Text),
    Column("collection_id", Uuid),
    Column("collection_name", Text),
    Column("operation_id", Uuid),
    Column("operation_kind", Text),
    Column("subject_kind", Text, nullable=False),
    Column("subject_id", Uuid),
    Column("subject_name", Text),
    Column("before", JSONB(none_as_null=True)),
    Column("after", JSONB(none_as_null=True)),
    Index("ix_audit_log_owner", "owner_id", "id"),
    Index("ix_audit_log_collection", "collection_id", "id", postgresql_where=text("collection_id IS NOT NULL")),
    Index("ix_audit_log_operation", "operation_id", "id", postgresql_where=text("operation_id IS NOT NULL")),
)

# `collection_id` refers to a collection that may be gone: its last operation is told too.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    Column("collection_id", Uuid),
    Column("collection_name", Text),
    Column("secret", LargeBinary, nullable=False),
    Column("previous_secret", LargeBinary),
    Column("previous_until", DateTime(timezone=True)),
    _created_at(),
    Column("failing_since", DateTime(timezone=True)),
    Column("disabled_at", DateTime(timezone=True)),
    Column("disabled_reason", Text),
)

# What is to be told to whom. While a worker tries one, `claim` is that try's and `due_at` is when it is lost.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("webhook_id", ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("operation_id", Uuid),
    Column("event", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("due_at", DateTime(timezone=True), server_default=func.now()),
    Column("claim", Uuid),
    _created_at(),
    Column("ended_at", DateTime(timezone=True)),
    Index("ix_webhook_deliveries_due", "webhook_id", "due_at", postgresql_where=text("state = 'pending'")),
    Index("ix_webhook_deliveries_claimed", "webhook_id", postgresql_where=text("claim IS NOT NULL")),
    Index("ix_webhook_deliveries_newest", "webhook_id", "created_at", "id"),
    Index("ix_webhook_deliveries_created", "created_at"),
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("delivery_id", ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("status", Integer),
    Column("duration_ms", Integer, nullable=False),
    Column("error_code", Text),
)
