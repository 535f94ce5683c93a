"""Rows of ``webhooks``."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.tables import webhook_deliveries, webhooks
from app.domain.collections import Collection
from app.domain.webhooks import DeliveryState, TooManyWebhooksError, Webhook, WebhookEvent, WebhookNotFoundError

ROTATION_DAYS = 1
"""How long an old secret signs beside the new one."""


def _to_webhook(row: RowMapping) -> Webhook:
    names = ("id", "user_id", "url", "collection_id", "collection_name", "created_at", "failing_since")
    return Webhook(
        events=tuple(WebhookEvent(event) for event in row["events"]),
        disabled_at=row["disabled_at"],
        disabled_reason=row["disabled_reason"],
        **{name: row[name] for name in names},
    )


class WebhookRepository:
    """Takes ids, gives webhooks, never commits. Secrets are sealed when they come here."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(
        self,
        user_id: UUID,
        *,
        url: str,
        events: Sequence[WebhookEvent],
        collection: Collection | None,
        secret: bytes,
        most: int,
    ) -> Webhook:
        """Raises TooManyWebhooksError if the user has ``most`` already."""
        # two at once must not both be the last one
        await self._connection.execute(text("SELECT 1 FROM users WHERE id = :id FOR UPDATE"), {"id": user_id})
        known = await self._connection.scalar(
            select(func.count()).select_from(webhooks).where(webhooks.c.user_id == user_id)
        )
        if known is not None and known >= most:
            raise TooManyWebhooksError(most)
        values = {
            "id": uuid4(),
            "user_id": user_id,
            "url": url,
            "events": [event.value for event in events],
            "secret": secret,
            **_of_collection(collection),
        }
        row = await self._connection.execute(insert(webhooks).values(values).returning(webhooks))
        return _to_webhook(row.mappings().one())

    async def get(self, user_id: UUID, webhook_id: UUID, *, hold: bool = False) -> Webhook:
        """Raises WebhookNotFoundError, also for somebody else's. To ``hold`` is to have others who change it wait."""
        query = select(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.user_id == user_id)
        if hold:
            query = query.with_for_update(key_share=True)
        row = (await self._connection.execute(query)).mappings().first()
        if row is None:
            raise WebhookNotFoundError(webhook_id)
        return _to_webhook(row)

    async def list_all(self, user_id: UUID) -> list[Webhook]:
        """Oldest first."""
        query = select(webhooks).where(webhooks.c.user_id == user_id).order_by(webhooks.c.created_at, webhooks.c.id)
        return [_to_webhook(row) for row in (await self._connection.execute(query)).mappings()]

    async def change(
        self,
        webhook_id: UUID,
        *,
        url: str | None = None,
        events: Sequence[WebhookEvent] | None = None,
        collection: Collection | None = None,
        everywhere: bool = False,
    ) -> Webhook:
        """Set what is given; ``everywhere`` ends the restriction to a collection."""
        values: dict[str, Any] = {}
        if url is not None:
            values["url"] = url
        if events is not None:
            values["events"] = [event.value for event in events]
        if collection is not None or everywhere:
            values |= _of_collection(collection)
        return await self._set(webhook_id, values)

    async def enable(self, webhook_id: UUID) -> Webhook:
        """Have it told again, as if it had never failed."""
        return await self._set(webhook_id, {"disabled_at": None, "disabled_reason": None, "failing_since": None})

    async def disable(self, webhook_id: UUID, *, reason: str) -> Webhook:
        """Tell it nothing more, nor what it has not been told yet."""
        changed = await self._set(webhook_id, {"disabled_at": func.now(), "disabled_reason": reason})
        rows = webhook_deliveries.c
        await self._connection.execute(
            update(webhook_deliveries)
            .where(rows.webhook_id == webhook_id, rows.state == DeliveryState.PENDING.value)
            .values(state=DeliveryState.FAILED.value, ended_at=func.now(), claim=None, due_at=None)
        )
        return changed

    async def rotate(self, webhook_id: UUID, secret: bytes) -> Webhook:
        """Sign with a new secret, and with the one before for a day."""
        until = func.now() + func.make_interval(0, 0, 0, ROTATION_DAYS)
        values = {"previous_secret": webhooks.c.secret, "previous_until": until, "secret": secret}
        return await self._set(webhook_id, values)

    async def hold(self, webhook_id: UUID) -> bool:
        """Have others who change it wait for this transaction; False if it is gone."""
        query = select(webhooks.c.id).where(webhooks.c.id == webhook_id).with_for_update(key_share=True)
        return (await self._connection.execute(query)).first() is not None

    async def delete(self, webhook_id: UUID) -> None:
        """With all its deliveries."""
        await self._connection.execute(webhooks.delete().where(webhooks.c.id == webhook_id))

    async def _set(self, webhook_id: UUID, values: dict[str, Any]) -> Webhook:
        changed = update(webhooks).where(webhooks.c.id == webhook_id).values(values or {"id": webhook_id})
        row = (await self._connection.execute(changed.returning(webhooks))).mappings().one()
        return _to_webhook(row)


def _of_collection(collection: Collection | None) -> dict[str, Any]:
    if collection is None:
        return {"collection_id": None, "collection_name": None}
    return {"collection_id": collection.id, "collection_name": collection.name}
