"""Webhooks: whom to tell when operations end, and what was told."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.domain.webhooks import Delivery, DeliveryState, Webhook, WebhookChange, WebhookEvent

router = APIRouter(tags=["webhooks"])

EXAMPLE_WEBHOOK: JsonDict = {
    "id": "c1b6f0c2-2d7a-4a6b-8f0e-7a0f6f3a9d21",
    "url": "https://example.org/hook",
    "events": ["completed", "failed"],
    "collection": "handbook",
    "enabled": True,
    "disabled_reason": None,
    "failing_since": None,
    "created_at": "2026-03-01T09:00:00Z",
}
EXAMPLE_DELIVERY: JsonDict = {
    "id": "5a6f3c1e-8a52-4d0e-9a77-0f6f0f4f2b10",
    "webhook_id": "c1b6f0c2-2d7a-4a6b-8f0e-7a0f6f3a9d21",
    "operation_id": "5a6f3c1e-8a52-4d0e-9a77-0f6f0f4f2b10",
    "event": "operation.completed",
    "state": "delivered",
    "attempts": [
        {
            "number": 1,
            "at": "2026-03-01T09:30:07.320Z",
            "status": 204,
            "duration_ms": 18,
            "error_code": None,
        }
    ],
    "due_at": None,
    "created_at": "2026-03-01T09:30:07.300Z",
    "ended_at": "2026-03-01T09:30:07.340Z",
    "payload": {"type": "operation.completed", "timestamp": "2026-03-01T09:30:07.300Z", "data": {}},
}

Url = Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^[^\x00]*$")]
Events = Annotated[list[WebhookEvent], Field(min_length=1, max_length=len(WebhookEvent))]
CollectionName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]


def _in_order(events: list[WebhookEvent]) -> tuple[WebhookEvent, ...]:
    """Each once."""
    return tuple(event for event in WebhookEvent if event in events)


class WebhookCreate(BaseModel):
    """Asks to be told at ``url`` when operations end, of one collection (its id or name) or of all."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"url": "https://example.org/hook", "events": ["failed"], "collection": "handbook"}]
        },
    )

    url: Url
    events: Events = list(WebhookEvent)
    collection: CollectionName | None = None

    def wanted(self) -> tuple[WebhookEvent, ...]:
        """Its events, each once."""
        return _in_order(self.events)


class WebhookPatch(BaseModel):
    """What shall be another; ``"collection": null`` tells of all collections, ``rotate_secret`` makes a new secret."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": True}]})

    url: Url | None = None
    events: Events | None = None
    collection: CollectionName | None = None
    enabled: bool | None = None
    rotate_secret: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("say what to change")
        return self

    def change(self) -> WebhookChange:
        """The same as the services take it."""
        return WebhookChange(
            url=self.url,
            events=None if self.events is None else _in_order(self.events),
            collection=self.collection,
            everywhere="collection" in self.model_fields_set and self.collection is None,
            enabled=self.enabled,
            rotate=self.rotate_secret,
        )


class WebhookBody(BaseModel):
    """A webhook. ``disabled_reason`` is ``by_owner``, ``webhook_gone`` or ``webhook_failing``."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_WEBHOOK]})

    id: UUID
    url: str
    events: list[WebhookEvent]
    collection: str | None
    enabled: bool
    disabled_reason: str | None
    failing_since: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, webhook: Webhook) -> Self:
        """Render a webhook."""
        return cls(
            id=webhook.id,
            url=webhook.url,
            events=list(webhook.events),
            collection=webhook.collection_name,
            enabled=webhook.disabled_at is None,
            disabled_reason=webhook.disabled_reason,
            failing_since=webhook.failing_since,
            created_at=webhook.created_at,
        )


class WebhookWithSecret(BaseModel):
    """A webhook, and its secret if it is new: it cannot be read again."""

    webhook: WebhookBody
    secret: str | None


class WebhookList(BaseModel):
    """The caller's webhooks."""

    webhooks: list[WebhookBody]


class AttemptBody(BaseModel):
    """One try at a delivery."""

    number: int
    at: datetime
    status: int | None
    duration_ms: int
    error_code: str | None


class DeliveryBody(BaseModel):
    """One message to one webhook; ``due_at`` is when it is tried next."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_DELIVERY]})

    id: UUID
    webhook_id: UUID
    operation_id: UUID | None
    event: str
    state: DeliveryState
    attempts: list[AttemptBody]
    due_at: datetime | None
    created_at: datetime
    ended_at: datetime | None
    payload: dict[str, Any]

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Render a delivery."""
        attempts = [
            AttemptBody(
                number=attempt.number,
                at=attempt.at,
                status=attempt.status,
                duration_ms=attempt.duration_ms,
                error_code=attempt.error_code,
            )
            for attempt in delivery.log
        ]
        return cls(
            id=delivery.id,
            webhook_id=delivery.webhook_id,
            operation_id=delivery.operation_id,
            event=delivery.event,
            state=delivery.state,
            attempts=attempts,
            due_at=delivery.due_at,
            created_at=delivery.created_at,
            ended_at=delivery.ended_at,
            payload=delivery.payload,
        )


class DeliveryPage(BaseModel):
    """Deliveries, newest first; ``next`` is the ``after`` of the next page."""

    deliveries: list[DeliveryBody]
    next: str | None


@router.post("/webhooks", status_code=201)
async def create_webhook(body: WebhookCreate, caller: CallerDep, services: ServicesDep) -> WebhookWithSecret:
    """Be told when operations end. The secret that signs is in this answer only."""
    webhook, secret = await services.webhooks.create(
        caller.user_id, url=body.url, events=body.wanted(), collection=body.collection
    )
    return WebhookWithSecret(webhook=WebhookBody.of(webhook), secret=secret)


@router.get("/webhooks")
async def list_webhooks(caller: CallerDep, services: ServicesDep) -> WebhookList:
    """The caller's webhooks, oldest first."""
    webhooks = await services.webhooks.list(caller.user_id)
    return WebhookList(webhooks=[WebhookBody.of(webhook) for webhook in webhooks])


@router.get("/webhooks/{webhook_id}")
async def read_webhook(webhook_id: UUID, caller: CallerDep, services: ServicesDep) -> WebhookBody:
    """One webhook."""
    return WebhookBody.of(await services.webhooks.get(caller.user_id, webhook_id))


@router.patch("/webhooks/{webhook_id}")
async def change_webhook(
    webhook_id: UUID, body: WebhookPatch, caller: CallerDep, services: ServicesDep
) -> WebhookWithSecret:
    """Change a webhook, enable it again, or give it a new secret; for a day the old one signs too."""
    webhook, secret = await services.webhooks.change(caller.user_id, webhook_id, body.change())
    return WebhookWithSecret(webhook=WebhookBody.of(webhook), secret=secret)


@router.delete("/webhooks/{webhook_id}", status_code=204)
async def delete_webhook(webhook_id: UUID, caller: CallerDep, services: ServicesDep) -> None:
    """Remove a webhook with its deliveries, also those that are still to be made."""
    await services.webhooks.delete(caller.user_id, webhook_id)


@router.post("/webhooks/{webhook_id}/test", status_code=202)
async def test_webhook(webhook_id: UUID, caller: CallerDep, services: ServicesDep) -> DeliveryBody:
    """Send a message of type `webhook.test` now, once; its delivery tells what came back."""
    return DeliveryBody.of(await services.webhooks.test(caller.user_id, webhook_id))


@router.get("/webhooks/{webhook_id}/deliveries")
async def list_deliveries(
    webhook_id: UUID,
    caller: CallerDep,
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> DeliveryPage:
    """What was sent to a webhook and what is to be, newest first, with each attempt."""
    page, cursor = await services.webhooks.list_deliveries(caller.user_id, webhook_id, limit=limit, after=after)
    return DeliveryPage(deliveries=[DeliveryBody.of(delivery) for delivery in page], next=cursor)


@router.get("/webhooks/{webhook_id}/deliveries/{delivery_id}")
async def read_delivery(webhook_id: UUID, delivery_id: UUID, caller: CallerDep, services: ServicesDep) -> DeliveryBody:
    """One delivery."""
    return DeliveryBody.of(await services.webhooks.get_delivery(caller.user_id, webhook_id, delivery_id))


@router.post("/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver", status_code=202)
async def redeliver(webhook_id: UUID, delivery_id: UUID, caller: CallerDep, services: ServicesDep) -> DeliveryBody:
    """Send a delivery again now, with the same `webhook-id`."""
    return DeliveryBody.of(await services.webhooks.redeliver(caller.user_id, webhook_id, delivery_id))
