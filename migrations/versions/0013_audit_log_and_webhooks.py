"""The audit log, webhooks, and the trigger that writes both when an operation ends.

A trigger, so that workers of the version before, which know of neither, write them too.

Revision ID: 0013
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Who asks for the end of an operation that waits ends it at once; what else ends one is a worker.
ENDED = """
CREATE FUNCTION vecloom_operation_ended() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    shown text := coalesce((SELECT c.name FROM collections c WHERE c.id = NEW.collection_id),
                           NEW.former_collection, NEW.config ->> 'collection');
    -- what clears a collection away says which one it was
    whose uuid := coalesce(NEW.collection_id, CAST(NEW.config ->> 'collection_id' AS uuid));
    is_asked boolean := OLD.state = 'pending' AND OLD.cancel_requested_at IS NULL;
BEGIN
    INSERT INTO audit_log (owner_id, action, actor_kind, actor_id, actor_name, collection_id, collection_name,
        operation_id, operation_kind, subject_kind, subject_id, subject_name, before, after)
    VALUES (NEW.user_id, 'operation.finished', CASE WHEN is_asked THEN 'user' ELSE 'worker' END,
        CASE WHEN is_asked THEN NEW.user_id END,
        CASE WHEN is_asked THEN (SELECT u.name FROM users u WHERE u.id = NEW.user_id) ELSE NEW.worker END,
        whose, shown, NEW.id, NEW.kind, 'operation', NEW.id, NEW.kind,
        jsonb_build_object('state', OLD.state),
        jsonb_strip_nulls(jsonb_build_object('state', NEW.state, 'error_code', NEW.error_code,
            'documents_failed', NEW.result -> 'documents_failed')));
    INSERT INTO webhook_deliveries (id, webhook_id, operation_id, event, payload)
    SELECT gen_random_uuid(), w.id, NEW.id, 'operation.' || NEW.state, jsonb_build_object(
        'type', 'operation.' || NEW.state,
        'timestamp', to_char(NEW.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'data', jsonb_build_object('operation_id', NEW.id, 'kind', NEW.kind, 'state', NEW.state,
            'collection_id', whose, 'collection', shown, 'attempt', NEW.attempt,
            'created_at', to_char(NEW.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'started_at', to_char(NEW.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'finished_at', to_char(NEW.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'result', NEW.result, 'error_code', NEW.error_code, 'error_message', NEW.error_message,
            'retryable', NEW.retryable))
    FROM webhooks w
    WHERE w.user_id = NEW.user_id AND w.disabled_at IS NULL
      AND NEW.state = ANY(w.events)
      AND (w.collection_id IS NULL OR w.collection_id = whose);
    IF FOUND THEN
        PERFORM pg_notify('vecloom_deliveries', '');
    END IF;
    RETURN NULL;
END $$
"""
WATCHED = """
CREATE TRIGGER operations_ended AFTER UPDATE OF state ON operations FOR EACH ROW
WHEN (NEW.state IN ('completed', 'failed', 'cancelled') AND OLD.state IN ('pending', 'running'))
EXECUTE FUNCTION vecloom_operation_ended()
"""


def upgrade() -> None:
    """Apply."""
    _create_audit_log()
    _create_webhooks()
    _create_deliveries()
    op.execute(ENDED)
    op.execute(WATCHED)


def downgrade() -> None:
    """Undo."""
    op.execute("DROP TRIGGER operations_ended ON operations")
    op.execute("DROP FUNCTION vecloom_operation_ended()")
    for table in ("webhook_attempts", "webhook_deliveries", "webhooks", "audit_log"):
        op.drop_table(table)


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("actor_kind", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Uuid),
        sa.Column("actor_name", sa.Text),
        sa.Column("key_id", sa.Uuid),
        sa.Column("key_name", sa.Text),
        sa.Column("address", sa.Text),
        sa.Column("request_id", sa.Text),
        sa.Column("collection_id", sa.Uuid),
        sa.Column("collection_name", sa.Text),
        sa.Column("operation_id", sa.Uuid),
        sa.Column("operation_kind", sa.Text),
        sa.Column("subject_kind", sa.Text, nullable=False),
        sa.Column("subject_id", sa.Uuid),
        sa.Column("subject_name", sa.Text),
        sa.Column("before", JSONB(none_as_null=True)),
        sa.Column("after", JSONB(none_as_null=True)),
    )
    op.create_index("ix_audit_log_owner", "audit_log", ["owner_id", "id"])
    for name in ("collection", "operation"):
        condition = sa.text(f"{name}_id IS NOT NULL")
        op.create_index(f"ix_audit_log_{name}", "audit_log", [f"{name}_id", "id"], postgresql_where=condition)


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", ARRAY(sa.Text), nullable=False),
        sa.Column("collection_id", sa.Uuid),
        sa.Column("collection_name", sa.Text),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("previous_secret", sa.LargeBinary),
        sa.Column("previous_until", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("failing_since", sa.DateTime(timezone=True)),
        sa.Column("disabled_at", sa.DateTime(timezone=True)),
        sa.Column("disabled_reason", sa.Text),
    )
    op.create_index("ix_webhooks_user_id", "webhooks", ["user_id"])


def _create_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("webhook_id", sa.Uuid, sa.ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("operation_id", sa.Uuid),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("payload", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'pending'")),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tries", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.func.now()),
        sa.Column("claim", sa.Uuid),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
    )
    table = "webhook_deliveries"
    pending, claimed = sa.text("state = 'pending'"), sa.text("claim IS NOT NULL")
    op.create_index(f"ix_{table}_due", table, ["webhook_id", "due_at"], postgresql_where=pending)
    op.create_index(f"ix_{table}_claimed", table, ["webhook_id"], postgresql_where=claimed)
    op.create_index(f"ix_{table}_newest", table, ["webhook_id", "created_at", "id"])
    op.create_index(f"ix_{table}_created", table, ["created_at"])
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery_id", sa.Uuid, sa.ForeignKey(f"{table}.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("status", sa.Integer),
        sa.Column("duration_ms", sa.Integer, nullable=False),
        sa.Column("error_code", sa.Text),
    )
