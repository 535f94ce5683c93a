"""Webhooks over opened parts."""

from app.bootstrap.parts import Parts
from app.jobs.courier import Courier
from app.operations.deliveries import Deliveries, DeliveryRules
from app.operations.webhooks import WebhookService
from app.settings import Settings
from app.webhooks.sender import WebhookSender


def allows_private(settings: Settings) -> bool:
    """Whether receivers may be at private addresses: by default only where nobody else's machines are in reach."""
    if settings.webhook_private_addresses == "auto":
        return settings.database_url is None
    return settings.webhook_private_addresses == "allow"


def open_webhook_service(parts: Parts) -> WebhookService:
    """What owners do with webhooks."""
    settings = parts.settings
    return WebhookService(parts.database, parts.box, allow_private=allows_private(settings))


def open_courier(parts: Parts, *, worker: str) -> Courier:
    """Makes the deliveries of one worker."""
    settings = parts.settings
    rules = DeliveryRules(
        timeout_seconds=settings.webhook_timeout,
        retry_delay_seconds=settings.webhook_retry_delay,
        max_attempts=settings.webhook_max_attempts,
        disable_after_days=settings.webhook_disable_after_days,
    )
    sender = WebhookSender(timeout_seconds=settings.webhook_timeout, allow_private=allows_private(settings))
    return Courier(Deliveries(parts.database, rules), sender, parts.box, worker=worker)
