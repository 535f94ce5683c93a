"""Makes deliveries as soon as they are due, many side by side."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import orjson
import structlog

from app.db.guard import UNAVAILABLE
from app.domain.audit import Actor, ActorKind, acting_as
from app.domain.errors import DomainError
from app.domain.webhooks import ClaimedDelivery, Receipt
from app.jobs.stopping import stop_task
from app.metrics import WEBHOOK_ATTEMPTS
from app.operations.deliveries import Deliveries
from app.secrets_box import SecretBox
from app.webhooks.sender import WebhookSender
from app.webhooks.signing import sign

log = structlog.get_logger(__name__)

MOST_OPEN = 32
LOOK_SECONDS = 10.0
"""Nobody has to be woken for what is due: a look costs one small query."""
GRACE_SECONDS = 1.0
RELEASE_SECONDS = 3.0
ERROR_SECONDS = 1.0


class Courier:
    """The deliveries of one worker.

    Args:
        worker: its name, for the audit log.
    """

    def __init__(self, deliveries: Deliveries, sender: WebhookSender, box: SecretBox, *, worker: str) -> None:
        self._deliveries = deliveries
        self._sender = sender
        self._box = box
        self._actor = Actor(kind=ActorKind.WORKER, name=worker)
        self._open: dict[asyncio.Task[None], ClaimedDelivery] = {}
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There may be something to deliver."""
        self._woken.set()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Deliver while the block runs; what is under way then has a moment, the rest is given back."""
        looking = asyncio.create_task(self._look_forever())
        try:
            yield
        finally:
            await stop_task(looking)
            await self._leave()
            await self._sender.aclose()

    async def _look_forever(self) -> None:
        while True:
            self._woken.clear()
            try:
                pause = await self._start_due()
            except UNAVAILABLE as error:
                log.debug("deliveries_not_claimed", error=type(error).__name__)
                pause = ERROR_SECONDS
            except Exception:  # without this loop nothing would be delivered any more
                log.exception("courier_failed")
                pause = ERROR_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    async def _start_due(self) -> float:
        """Start what is due as far as there is room; gives how long to wait unless woken."""
        room = MOST_OPEN - len(self._open)
        if room <= 0:
            return LOOK_SECONDS
        for delivery in await self._deliveries.claim(limit=room):
            task = asyncio.create_task(self._deliver(delivery))
            self._open[task] = delivery
            task.add_done_callback(self._take_end)
        seconds = await self._deliveries.find_next()
        return LOOK_SECONDS if seconds is None else min(max(seconds, 0.0), LOOK_SECONDS)

    def _take_end(self, task: "asyncio.Task[None]") -> None:
        del self._open[task]
        # there is room again, and its webhook may have more
        self.wake()

    async def _deliver(self, delivery: ClaimedDelivery) -> None:
        ids = {"webhook_id": str(delivery.webhook_id), "delivery_id": str(delivery.id)}
        with structlog.contextvars.bound_contextvars(**ids), acting_as(self._actor):
            receipt = await self._send(delivery)
            WEBHOOK_ATTEMPTS.labels(receipt.error_code or "ok").inc()
            log.info("delivery_tried", status=receipt.status, code=receipt.error_code, tries=delivery.tries)
            try:
                await self._deliveries.settle(delivery, receipt)
            except UNAVAILABLE as error:
                log.warning("delivery_not_settled", error=type(error).__name__, note="it is sent again")
            except Exception:  # its claim ends by itself
                log.exception("delivery_not_settled")

    async def _send(self, delivery: ClaimedDelivery) -> Receipt:
        body = orjson.dumps(delivery.payload)
        try:
            secrets = [self._box.open_text(secret) for secret in delivery.secrets]
        except DomainError as error:
            log.warning("secret_not_opened", code=error.code)
            return Receipt(error_code=error.code)
        headers = sign(str(delivery.id), int(time.time()), body, secrets)
        return await self._sender.send(delivery.url, headers=headers, body=body)

    async def _leave(self) -> None:
        left = dict(self._open)
        if not left:
            return
        await asyncio.wait(left, timeout=GRACE_SECONDS)
        cancelled = [delivery for task, delivery in left.items() if task.cancel()]
        await asyncio.wait(left, timeout=GRACE_SECONDS)
        if not cancelled:
            return
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._deliveries.release(cancelled)
        except UNAVAILABLE as error:
            log.warning("deliveries_not_released", error=type(error).__name__, note="their claims end by themselves")
