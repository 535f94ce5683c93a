"""Webhooks: whom to tell when an operation ends, and what became of telling."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.domain.errors import ConflictError, InvalidInputError, NotFoundError, PermanentError, TransientError

TEST_EVENT = "webhook.test"


class WebhookEvent(StrEnum):
    """The ends of an operation that a webhook is told."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class DeliveryState(StrEnum):
    """``pending → delivered | failed``; a redelivery makes either pending again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """An address that is told of ends.

    Attributes:
        collection_id: only operations of this collection; None for all of the user's.
        failing_since: of the first failed attempt since the last one that succeeded.
        disabled_reason: why it is not told any more, a code or ``by_owner``.
    """

    id: UUID
    user_id: UUID
    url: str = field(repr=False)
    events: tuple[WebhookEvent, ...]
    collection_id: UUID | None
    collection_name: str | None
    created_at: datetime
    failing_since: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookChange:
    """What shall be another; None leaves a thing as it is.

    Attributes:
        collection: id or name of the only collection that is told of.
        everywhere: tell of all collections.
        rotate: make a new secret.
    """

    url: str | None = None
    events: tuple[WebhookEvent, ...] | None = None
    collection: str | None = None
    everywhere: bool = False
    enabled: bool | None = None
    rotate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAttempt:
    """One try: the status it was answered with, or why there was none."""

    number: int
    at: datetime
    status: int | None
    duration_ms: int
    error_code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One thing to tell one webhook. ``due_at`` is when it is tried next."""

    id: UUID
    webhook_id: UUID
    operation_id: UUID | None
    event: str
    state: DeliveryState
    attempts: int
    due_at: datetime | None
    created_at: datetime
    ended_at: datetime | None
    payload: dict[str, Any] = field(repr=False)
    log: tuple[DeliveryAttempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """A delivery that is this worker's to try; ``tries`` counts since it was created or asked for again."""

    id: UUID
    claim: UUID
    webhook_id: UUID
    event: str
    payload: dict[str, Any] = field(repr=False)
    tries: int
    url: str = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of one try; ``error_code`` is None if the receiver has taken it."""

    status: int | None = None
    error_code: str | None = None
    seconds: float = 0.0
    retry_after_seconds: float | None = None


class WebhookNotFoundError(NotFoundError):
    """No webhook of the caller has this id."""

    code = "webhook_not_found"

    def __init__(self, webhook_id: object) -> None:
        super().__init__(f"webhook {webhook_id} does not exist")


class DeliveryNotFoundError(NotFoundError):
    """The webhook has no delivery of this id, or it was too long ago."""

    code = "delivery_not_found"

    def __init__(self, delivery_id: object) -> None:
        super().__init__(f"delivery {delivery_id} does not exist; deliveries are kept for WEBHOOK_KEEP_DAYS")


class TooManyWebhooksError(ConflictError):
    """The caller has as many webhooks as a user may have."""

    code = "too_many_webhooks"

    def __init__(self, most: int) -> None:
        super().__init__(f"there are {most} webhooks already; remove one that is not needed")


class WebhookDisabledError(ConflictError):
    """The webhook is disabled, so nothing can be sent to it."""

    code = "webhook_disabled"

    def __init__(self, webhook_id: object, reason: str | None) -> None:
        super().__init__(f"webhook {webhook_id} is disabled ({reason}); enable it first")


class WebhookUrlError(InvalidInputError):
    """A URL that no webhook can have."""

    code = "webhook_url"


class WebhookAddressError(InvalidInputError):
    """A webhook's host is, or resolves to, an address that this server may not be sent to."""

    code = "webhook_address_refused"

    def __init__(self) -> None:
        super().__init__(
            "this host is at a private, loopback or link-local address; name one of the internet, or have the server's"
            " operator set VECLOOM_WEBHOOK_PRIVATE_ADDRESSES=allow"
        )


class WebhookUnreachableError(TransientError):
    """The receiver's name cannot be resolved, or it does not take the connection or breaks it."""

    code = "webhook_unreachable"


class WebhookTimeoutError(TransientError):
    """The receiver has not answered in time."""

    code = "webhook_timeout"


class WebhookRejectedError(TransientError):
    """The receiver answers neither 2xx nor 3xx nor 410."""

    code = "webhook_rejected"


class WebhookRedirectedError(TransientError):
    """The receiver answers 3xx; redirects are not followed."""

    code = "webhook_redirected"


class WebhookGoneError(PermanentError):
    """The receiver answers 410: it does not want to be told any more."""

    code = "webhook_gone"


class WebhookFailingError(PermanentError):
    """Nothing could be delivered for so long that it is not tried any more."""

    code = "webhook_failing"
