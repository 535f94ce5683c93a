"""What owners do with webhooks: create, change, test, send again."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.audit import record
from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.deliveries import DeliveryRepository
from app.db.webhooks import WebhookRepository
from app.domain.audit import Subject
from app.domain.collections import Collection
from app.domain.errors import InvalidInputError
from app.domain.webhooks import Delivery, Webhook, WebhookChange, WebhookDisabledError, WebhookEvent
from app.secrets_box import SecretBox
from app.webhooks.signing import make_secret
from app.webhooks.urls import check_url

MOST_WEBHOOKS = 50
BY_OWNER = "by_owner"


class WebhookService:
    """One method, one transaction; each change is in the audit log."""

    def __init__(self, database: Database, box: SecretBox, *, allow_private: bool) -> None:
        self._database = database
        self._box = box
        self._allow_private = allow_private

    async def create(
        self, user_id: UUID, *, url: str, events: Sequence[WebhookEvent], collection: str | None
    ) -> tuple[Webhook, str]:
        """The webhook and its secret, which is shown only now.

        Raises:
            WebhookUrlError, WebhookAddressError: if it cannot have this URL.
            CollectionNotFoundError, TooManyWebhooksError, SecretKeyMissingError: as they say.
        """
        check_url(url, allow_private=self._allow_private)
        secret = make_secret()
        sealed = self._box.seal_text(secret)
        async with self._database.begin() as connection:
            webhook = await WebhookRepository(connection).add(
                user_id,
                url=url,
                events=events,
                collection=await _find(connection, user_id, collection),
                secret=sealed,
                most=MOST_WEBHOOKS,
            )
            await _note(connection, "webhook.created", webhook, after=_settings_of(webhook))
        return webhook, secret

    async def get(self, user_id: UUID, webhook_id: UUID) -> Webhook:
        """Raises WebhookNotFoundError."""
        async with self._database.begin() as connection:
            return await WebhookRepository(connection).get(user_id, webhook_id)

    async def list(self, user_id: UUID) -> Sequence[Webhook]:
        """Oldest first."""
        async with self._database.begin() as connection:
            return await WebhookRepository(connection).list_all(user_id)

    async def change(self, user_id: UUID, webhook_id: UUID, change: WebhookChange) -> tuple[Webhook, str | None]:
        """The webhook as it is then, and its new secret if it has one.

        Raises:
            WebhookNotFoundError, and what ``create`` raises.
        """
        if change.url is not None:
            check_url(change.url, allow_private=self._allow_private)
        secret = make_secret() if change.rotate else None
        sealed = None if secret is None else self._box.seal_text(secret)
        async with self._database.begin() as connection:
            before = await WebhookRepository(connection).get(user_id, webhook_id, hold=True)
            webhook = await self._apply(connection, before, change, sealed)
            after = {**_settings_of(webhook), **({} if sealed is None else {"rotated": True})}
            await _note(connection, "webhook.changed", webhook, before=_settings_of(before), after=after)
        return webhook, secret

    async def _apply(
        self, connection: AsyncConnection, before: Webhook, change: WebhookChange, sealed: bytes | None
    ) -> Webhook:
        webhooks = WebhookRepository(connection)
        webhook = await webhooks.change(
            before.id,
            url=change.url,
            events=change.events,
            collection=await _find(connection, before.user_id, change.collection),
            everywhere=change.everywhere,
        )
        if sealed is not None:
            webhook = await webhooks.rotate(before.id, sealed)
        if change.enabled is True:
            webhook = await webhooks.enable(before.id)
        if change.enabled is False and before.disabled_at is None:
            webhook = await webhooks.disable(before.id, reason=BY_OWNER)
        return webhook

    async def delete(self, user_id: UUID, webhook_id: UUID) -> None:
        """With its deliveries, also those not made yet. Raises WebhookNotFoundError."""
        async with self._database.begin() as connection:
            webhook = await WebhookRepository(connection).get(user_id, webhook_id, hold=True)
            await WebhookRepository(connection).delete(webhook_id)
            await _note(connection, "webhook.deleted", webhook, before=_settings_of(webhook))

    async def test(self, user_id: UUID, webhook_id: UUID) -> Delivery:
        """A delivery that is made at once, and tried once. Raises WebhookNotFoundError, WebhookDisabledError."""
        async with self._database.begin() as connection:
            webhook = await _get_enabled(connection, user_id, webhook_id)
            deliveries = DeliveryRepository(connection)
            delivery_id = await deliveries.add_test(webhook_id)
            await _note(connection, "webhook.tested", webhook)
            return await deliveries.get(webhook_id, delivery_id)

    async def list_deliveries(
        self, user_id: UUID, webhook_id: UUID, *, limit: int, after: str | None
    ) -> tuple[Sequence[Delivery], str | None]:
        """A page, newest first, and the cursor of the next page. Raises WebhookNotFoundError."""
        try:
            cursor = UUID(after) if after else None
        except ValueError as error:
            raise InvalidInputError("`after` must be the `next` of an earlier page") from error
        async with self._database.begin() as connection:
            await WebhookRepository(connection).get(user_id, webhook_id)
            page = await DeliveryRepository(connection).list_page(webhook_id, limit=limit, after=cursor)
        return page, str(page[-1].id) if len(page) == limit else None

    async def get_delivery(self, user_id: UUID, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Raises WebhookNotFoundError, DeliveryNotFoundError."""
        async with self._database.begin() as connection:
            await WebhookRepository(connection).get(user_id, webhook_id)
            return await DeliveryRepository(connection).get(webhook_id, delivery_id)

    async def redeliver(self, user_id: UUID, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Send a delivery again, with the same id and all its attempts before it.

        Raises:
            WebhookNotFoundError, DeliveryNotFoundError, WebhookDisabledError: as they say.
        """
        async with self._database.begin() as connection:
            webhook = await _get_enabled(connection, user_id, webhook_id)
            deliveries = DeliveryRepository(connection)
            await deliveries.get(webhook_id, delivery_id)
            await deliveries.send_again(delivery_id)
            await _note(connection, "webhook.redelivered", webhook, after={"delivery_id": delivery_id})
            return await deliveries.get(webhook_id, delivery_id)


async def _find(connection: AsyncConnection, user_id: UUID, id_or_name: str | None) -> Collection | None:
    return None if id_or_name is None else await CollectionRepository(connection).get(user_id, id_or_name)


async def _get_enabled(connection: AsyncConnection, user_id: UUID, webhook_id: UUID) -> Webhook:
    webhook = await WebhookRepository(connection).get(user_id, webhook_id, hold=True)
    if webhook.disabled_at is not None:
        raise WebhookDisabledError(webhook_id, webhook.disabled_reason)
    return webhook


async def _note(connection: AsyncConnection, action: str, webhook: Webhook, **settings: Any) -> None:  # noqa: ANN401 — JSON
    await record(connection, action, subject_of(webhook), owner_id=webhook.user_id, **settings)


def subject_of(webhook: Webhook) -> Subject:
    """A webhook as the audit log names it: by its host, for its path may be a secret."""
    return Subject(kind="webhook", id=webhook.id, name=host_of(webhook.url))


def host_of(url: str) -> str:
    """``https://example.org:8443/hook/secret`` → ``https://example.org:8443``."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].partition('?')[0]}"


def _settings_of(webhook: Webhook) -> dict[str, Any]:
    return {
        "url": host_of(webhook.url),
        "events": list(webhook.events),
        "collection": webhook.collection_name,
        "enabled": webhook.disabled_at is None,
    }
