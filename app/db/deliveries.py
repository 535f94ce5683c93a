"""Rows of ``webhook_deliveries`` and ``webhook_attempts``. Postgres itself adds those of operations that end."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, func, insert, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.database import Database
from app.db.statements import UUIDS, parsed
from app.db.tables import webhook_attempts, webhook_deliveries
from app.domain.webhooks import (
    TEST_EVENT,
    ClaimedDelivery,
    Delivery,
    DeliveryAttempt,
    DeliveryNotFoundError,
    DeliveryState,
    Receipt,
)

CHANNEL = "vecloom_deliveries"
"""Postgres' channel on which workers hear that there is something to deliver."""

ROWS_PER_TRIM = 1000

# At most so many of one webhook at once, and one while it fails: whoever answers slowly takes no places of others.
_CLAIM = """
WITH picked AS MATERIALIZED (
    SELECT d.id FROM webhooks w
    CROSS JOIN LATERAL (SELECT count(*) AS taken FROM webhook_deliveries c
                        WHERE c.webhook_id = w.id AND c.claim IS NOT NULL AND c.due_at > now()) busy
    CROSS JOIN LATERAL (
        SELECT p.id, p.due_at, row_number() OVER (ORDER BY p.due_at) AS place FROM (
            SELECT r.id, r.due_at FROM webhook_deliveries r
            WHERE r.webhook_id = w.id AND r.state = 'pending' AND r.due_at <= now()
            ORDER BY r.due_at
            LIMIT greatest(0, CASE WHEN w.failing_since IS NULL THEN :most ELSE 1 END - busy.taken)) p) d
    WHERE w.disabled_at IS NULL ORDER BY d.place, d.due_at LIMIT :limit
), locked AS (
    SELECT id FROM webhook_deliveries WHERE id IN (SELECT id FROM picked) AND state = 'pending' AND due_at <= now()
    FOR UPDATE SKIP LOCKED
)
UPDATE webhook_deliveries d SET claim = gen_random_uuid(), due_at = now() + make_interval(secs => :lease),
    attempts = d.attempts + 1, tries = d.tries + 1
FROM locked, webhooks w WHERE d.id = locked.id AND w.id = d.webhook_id
RETURNING d.id, d.claim, d.webhook_id, d.event, d.payload, d.tries, w.url, w.secret,
          CASE WHEN w.previous_until > now() THEN w.previous_secret END AS previous_secret
"""

_NEXT = """
SELECT extract(epoch FROM min(d.due_at) - now())::float8 FROM webhooks w
CROSS JOIN LATERAL (SELECT due_at FROM webhook_deliveries r
                    WHERE r.webhook_id = w.id AND r.state = 'pending' AND r.due_at > now()
                    ORDER BY r.due_at LIMIT 1) d
WHERE w.disabled_at IS NULL
"""

_SETTLE = """
WITH d AS (
    UPDATE webhook_deliveries SET claim = NULL, state = :state,
        due_at = CASE WHEN :state = 'pending' THEN now() + make_interval(secs => :delay) END,
        ended_at = CASE WHEN :state <> 'pending' THEN now() END
    WHERE id = :id AND claim = :claim RETURNING id, attempts
)
INSERT INTO webhook_attempts (delivery_id, number, status, duration_ms, error_code)
SELECT id, attempts, CAST(:status AS int), :duration, CAST(:error AS text) FROM d
"""

_NOTE_FAILURE = """
UPDATE webhooks SET failing_since = coalesce(failing_since, now()) WHERE id = :id AND disabled_at IS NULL
RETURNING failing_since < now() - make_interval(secs => :patience) AS is_hopeless
"""


def _to_claimed(row: RowMapping) -> ClaimedDelivery:
    names = ("id", "claim", "webhook_id", "event", "payload", "tries", "url")
    secrets = (row["secret"], row["previous_secret"])
    return ClaimedDelivery(
        secrets=tuple(secret for secret in secrets if secret is not None), **{name: row[name] for name in names}
    )


def _to_delivery(row: RowMapping, log: Sequence[DeliveryAttempt]) -> Delivery:
    names = ("id", "webhook_id", "operation_id", "event", "attempts", "due_at", "created_at", "ended_at", "payload")
    return Delivery(state=DeliveryState(row["state"]), log=tuple(log), **{name: row[name] for name in names})


class DeliveryRepository:
    """Takes ids, gives deliveries, never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add_test(self, webhook_id: UUID) -> UUID:
        """A delivery that says only that it is a test; gives its id."""
        delivery_id = uuid4()
        said = func.to_char(func.timezone("UTC", func.now()), text("""'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'"""))
        data = func.jsonb_build_object("webhook_id", str(webhook_id))
        payload = func.jsonb_build_object("type", TEST_EVENT, "timestamp", said, "data", data)
        values: dict[str, Any] = {
            "id": delivery_id,
            "webhook_id": webhook_id,
            "event": TEST_EVENT,
            "payload": payload,
        }
        await self._connection.execute(insert(webhook_deliveries).values(values))
        await self._notify()
        return delivery_id

    async def send_again(self, delivery_id: UUID) -> None:
        """Make a delivery pending and due, with all its tries before it."""
        again = {
            "state": DeliveryState.PENDING.value,
            "tries": 0,
            "due_at": func.now(),
            "ended_at": None,
            "claim": None,
        }
        await self._connection.execute(
            update(webhook_deliveries).where(webhook_deliveries.c.id == delivery_id).values(again)
        )
        await self._notify()

    async def _notify(self) -> None:
        await self._connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})

    async def get(self, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Raises DeliveryNotFoundError."""
        rows = webhook_deliveries.c
        query = select(webhook_deliveries).where(rows.webhook_id == webhook_id, rows.id == delivery_id)
        row = (await self._connection.execute(query)).mappings().first()
        if row is None:
            raise DeliveryNotFoundError(delivery_id)
        return _to_delivery(row, (await self._read_log([delivery_id])).get(delivery_id, []))

    async def list_page(self, webhook_id: UUID, *, limit: int, after: UUID | None) -> list[Delivery]:
        """Newest first; ``after`` is the last one of the page before."""
        rows = webhook_deliveries.c
        order = (rows.created_at.desc(), rows.id.desc())
        query = select(webhook_deliveries).where(rows.webhook_id == webhook_id).order_by(*order).limit(limit)
        if after is not None:
            last = select(rows.created_at, rows.id).where(rows.id == after, rows.webhook_id == webhook_id)
            query = query.where(tuple_(rows.created_at, rows.id) < last.scalar_subquery())
        found = (await self._connection.execute(query)).mappings().all()
        log = await self._read_log([row["id"] for row in found])
        return [_to_delivery(row, log.get(row["id"], [])) for row in found]

    async def _read_log(self, delivery_ids: Sequence[UUID]) -> dict[UUID, list[DeliveryAttempt]]:
        rows = webhook_attempts.c
        query = select(webhook_attempts).where(rows.delivery_id.in_(delivery_ids)).order_by(rows.number)
        log: dict[UUID, list[DeliveryAttempt]] = {}
        names = ("number", "at", "status", "duration_ms", "error_code")
        for row in (await self._connection.execute(query)).mappings():
            log.setdefault(row["delivery_id"], []).append(DeliveryAttempt(**{name: row[name] for name in names}))
        return log

    async def claim(self, *, limit: int, most_of_one: int, lease_seconds: float) -> list[ClaimedDelivery]:
        """Take due deliveries for this worker; one whose lease ends without a word is due again."""
        values = {"limit": limit, "most": most_of_one, "lease": float(lease_seconds)}
        rows = (await self._connection.execute(parsed(_CLAIM), values)).mappings().all()
        return [_to_claimed(row) for row in rows]

    async def find_next(self) -> float | None:
        """In how many seconds the next one is due that is not yet."""
        seconds: float | None = await self._connection.scalar(parsed(_NEXT))
        return seconds

    async def release(self, claims: Sequence[UUID]) -> None:
        """Give back what was taken and not tried to its end."""
        statement = parsed(
            """UPDATE webhook_deliveries SET claim = NULL, due_at = now(), tries = tries - 1, attempts = attempts - 1
               WHERE claim = ANY(:claims) AND state = 'pending'""",
            claims=UUIDS,
        )
        await self._connection.execute(statement, {"claims": list(claims)})
        await self._notify()

    async def settle(
        self, delivery: ClaimedDelivery, receipt: Receipt, *, state: DeliveryState, delay_seconds: float
    ) -> bool:
        """Write down an attempt and what follows from it; False, and nothing, if the claim was lost."""
        values = {
            "id": delivery.id,
            "claim": delivery.claim,
            "state": state.value,
            "delay": float(delay_seconds),
            "status": receipt.status,
            "duration": round(receipt.seconds * 1000),
            "error": receipt.error_code,
        }
        return (await self._connection.execute(parsed(_SETTLE), values)).rowcount > 0

    async def note_success(self, webhook_id: UUID) -> None:
        """The webhook does not fail any more."""
        await self._connection.execute(
            text("UPDATE webhooks SET failing_since = NULL WHERE id = :id AND failing_since IS NOT NULL"),
            {"id": webhook_id},
        )

    async def note_failure(self, webhook_id: UUID, *, patience_seconds: float) -> bool:
        """The webhook fails; whether it has done so for longer than ``patience_seconds``."""
        values = {"id": webhook_id, "patience": float(patience_seconds)}
        row = (await self._connection.execute(parsed(_NOTE_FAILURE), values)).first()
        return row is not None and bool(row.is_hopeless)

    async def drop_old(self, *, keep_days: int, rows: int) -> int:
        """Drop deliveries that were made so long ago, with their attempts; how many they were."""
        dropped = await self._connection.execute(
            parsed(
                """DELETE FROM webhook_deliveries WHERE id IN (
                       SELECT id FROM webhook_deliveries WHERE created_at < now() - make_interval(days => :days)
                       ORDER BY created_at LIMIT :rows)"""
            ),
            {"days": keep_days, "rows": rows},
        )
        return dropped.rowcount


async def trim_deliveries(database: Database, *, keep_days: int) -> int:
    """Drop deliveries that were made longer ago, a thousand a transaction; how many they were."""
    total, dropped = 0, ROWS_PER_TRIM
    while dropped == ROWS_PER_TRIM:
        async with database.begin() as connection:
            dropped = await DeliveryRepository(connection).drop_old(keep_days=keep_days, rows=ROWS_PER_TRIM)
        total += dropped
    return total
