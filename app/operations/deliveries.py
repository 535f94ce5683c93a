"""What workers do with deliveries: take, write down what became of them, give back."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from app.db.audit import record
from app.db.database import Database
from app.db.deliveries import DeliveryRepository
from app.db.webhooks import WebhookRepository
from app.domain.webhooks import (
    TEST_EVENT,
    ClaimedDelivery,
    DeliveryState,
    Receipt,
    WebhookFailingError,
    WebhookGoneError,
)
from app.operations.webhooks import subject_of

log = structlog.get_logger(__name__)

MOST_OF_ONE = 4
"""How many deliveries one webhook is sent at once, over all workers, while it takes them."""
ABOVE_TIMEOUT_SECONDS = 10.0
LONGEST_DELAY_SECONDS = 6 * 3600.0
GROWTH = 4.0
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """How often and how long; see ``docs/settings.md``."""

    timeout_seconds: float
    retry_delay_seconds: float
    max_attempts: int
    disable_after_days: float


class Deliveries:
    """Guarded transitions of deliveries; each is one short transaction."""

    def __init__(self, database: Database, rules: DeliveryRules) -> None:
        self._database = database
        self._rules = rules

    async def claim(self, *, limit: int) -> Sequence[ClaimedDelivery]:
        """Take due deliveries; who does not come back with a receipt in time has lost them."""
        async with self._database.begin() as connection:
            return await DeliveryRepository(connection).claim(
                limit=limit,
                most_of_one=MOST_OF_ONE,
                lease_seconds=self._rules.timeout_seconds + ABOVE_TIMEOUT_SECONDS,
            )

    async def find_next(self) -> float | None:
        """In how many seconds there may be one."""
        async with self._database.begin() as connection:
            return await DeliveryRepository(connection).find_next()

    async def release(self, claimed: Sequence[ClaimedDelivery]) -> None:
        """Give back what was not tried to its end; another worker tries it at once."""
        async with self._database.begin() as connection:
            await DeliveryRepository(connection).release([delivery.claim for delivery in claimed])

    async def settle(self, delivery: ClaimedDelivery, receipt: Receipt) -> DeliveryState | None:
        """Write down an attempt, when it is tried again, and whether its webhook is given up; None if it was lost."""
        state, delay = self._judge(delivery, receipt)
        async with self._database.begin() as connection:
            webhooks, deliveries = WebhookRepository(connection), DeliveryRepository(connection)
            # first, as everybody does who changes a webhook and its deliveries
            if not await webhooks.hold(delivery.webhook_id):
                return None
            if not await deliveries.settle(delivery, receipt, state=state, delay_seconds=delay):
                return None
            if receipt.error_code is None:
                await deliveries.note_success(delivery.webhook_id)
                return state
            reason = await self._find_reason(deliveries, delivery, receipt)
            if reason is not None:
                webhook = await webhooks.disable(delivery.webhook_id, reason=reason)
                subject = subject_of(webhook)
                after = {"reason": reason}
                await record(connection, "webhook.disabled", subject, owner_id=webhook.user_id, after=after)
                log.warning("webhook_disabled", webhook_id=str(webhook.id), reason=reason)
        return state

    def _judge(self, delivery: ClaimedDelivery, receipt: Receipt) -> tuple[DeliveryState, float]:
        if receipt.error_code is None:
            return DeliveryState.DELIVERED, 0.0
        is_last = delivery.tries >= self._rules.max_attempts or delivery.event == TEST_EVENT
        if is_last or receipt.error_code == WebhookGoneError.code:
            return DeliveryState.FAILED, 0.0
        return DeliveryState.PENDING, retry_delay(
            self._rules.retry_delay_seconds, tries=delivery.tries, asked_seconds=receipt.retry_after_seconds
        )

    async def _find_reason(
        self, deliveries: DeliveryRepository, delivery: ClaimedDelivery, receipt: Receipt
    ) -> str | None:
        """Why nothing more is sent to the webhook, if so; a test says nothing about real deliveries."""
        if receipt.error_code == WebhookGoneError.code:
            return WebhookGoneError.code
        if delivery.event == TEST_EVENT:
            return None
        patience = self._rules.disable_after_days * DAY_SECONDS
        is_hopeless = await deliveries.note_failure(delivery.webhook_id, patience_seconds=patience)
        return WebhookFailingError.code if is_hopeless else None


def retry_delay(first_seconds: float, *, tries: int, asked_seconds: float | None) -> float:
    """How long to wait after so many tries: four times as long each time, spread, or what the receiver asked for."""
    delay = min(first_seconds * GROWTH ** (tries - 1), LONGEST_DELAY_SECONDS)
    spread = delay * random.uniform(0.8, 1.2)  # noqa: S311 — spreads retries, keeps no secret
    return min(max(spread, asked_seconds or 0.0), LONGEST_DELAY_SECONDS)
