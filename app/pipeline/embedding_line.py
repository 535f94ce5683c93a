"""The line in front of one model: everybody's texts leave it in full requests, as many at once as the model bears.

A window of texts is taken in fair order, sorted by length and cut into requests. Nothing waits for more to come: as
soon as a request may be sent and a text is there, it is sent.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from contextvars import Context
from dataclasses import dataclass

import numpy as np

from app.domain.errors import (
    DomainError,
    EmbedderBatchTooLargeError,
    EmbedderDimensionError,
    EmbedderGarbageError,
    EmbedderOverloadedError,
    EmbedderRejectedError,
    EmbedderUnavailableError,
)
from app.domain.points import Vectors
from app.domain.ports import Embedder
from app.embedders.fingerprint import CANARY_TEXTS
from app.embedders.patient import FIRST_PAUSE_SECONDS, TRIES, choose_pause, explain_pause
from app.metrics import EMBEDDING_LIMIT, EMBEDDING_REQUESTS
from app.pipeline.batch_size import BatchSize, Split
from app.pipeline.fair_queue import Customer, FairQueue, Text, Ticket
from app.pipeline.pace import Pace
from app.pipeline.pack import pack_batches

WINDOW_REQUESTS = 4
"""How many full requests' worth of texts is sorted together."""
TRIES_OF_A_HALF = 2
"""How often a half of a request that made the model fail may fail too, until it is cut again."""


@dataclass(slots=True, eq=False)
class Batch:
    """The texts of a request, how often it failed because the model was away, and what it is one half of."""

    texts: list[Text]
    tries: int = 0
    split: Split | None = None

    @property
    def cost(self) -> int:
        """Tokens, with padding."""
        return len(self.texts) * max((text.tokens for text in self.texts), default=0)


class EmbeddingLine:
    """All texts of one worker for one model.

    Args:
        max_texts, max_tokens: bounds of a request; the model's refusals may lower them.
        concurrency: the most requests at once.
        first_pause_seconds: how long it waits for a model that is away, at first.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        max_texts: int,
        max_tokens: int,
        concurrency: int,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._embedder = embedder
        self._first_pause_seconds = first_pause_seconds
        self._pace = Pace(concurrency)
        self._size = BatchSize(max_texts=max_texts, max_tokens=max_tokens)
        self._queue = FairQueue()
        self._carried: list[Text] = []
        self._batches: deque[Batch] = deque()
        self._requests: dict[asyncio.Task[None], Batch] = {}
        self._tickets: set[Ticket] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._paused_at = 0.0
        self._failures = 0
        self._why: str | None = None
        self._telling: asyncio.Task[None] | None = None

    async def embed(
        self,
        customer: Customer,
        texts: Sequence[str],
        tokens: Sequence[int],
        *,
        dimension: int,
        on_answer: Callable[[], None] | None = None,
    ) -> tuple[Vectors, dict[int, DomainError]]:
        """Embed texts; a caller that is cancelled takes its texts out of the line. ``on_answer`` hears of each answer.

        Returns:
            Float32 of shape ``(n, dimension)`` in the order of ``texts``, and an error for each text that the model
            refuses on its own (its row is zero).

        Raises:
            EmbedderUnavailableError: if the model stays away.
            EmbedderDimensionError: if its vectors have another length than ``dimension``.
            EmbedderRefusesAccessError, UnknownModelError: if it refuses whatever it is asked.
            EmbedderRejectedError, EmbedderBatchTooLargeError, EmbedderGarbageError: if it cannot embed any text at all.
        """
        vectors = np.zeros((len(texts), dimension), dtype=np.float32)
        if not texts:
            return vectors, {}
        answer = asyncio.get_running_loop().create_future()
        ticket = Ticket(
            customer=customer,
            texts=texts,
            tokens=tokens,
            vectors=vectors,
            answer=answer,
            left=len(texts),
            on_answer=on_answer,
        )
        self._tickets.add(ticket)
        self._queue.add(ticket)
        if self._why is not None:
            self._tell([customer], self._why)
        self._send()
        try:
            await answer
        finally:
            self._leave(ticket)
        return vectors, ticket.refused

    async def aclose(self) -> None:
        """Drop everything; who still waits is cancelled."""
        if self._pause is not None:
            self._pause.cancel()
        for ticket in self._tickets:
            ticket.answer.cancel()
        tasks = [*self._requests, *([self._telling] if self._telling else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _leave(self, ticket: Ticket) -> None:
        self._tickets.discard(ticket)
        self._queue.discard(ticket)
        for task, batch in self._requests.items():
            if all(text.ticket.answer.done() for text in batch.texts):
                task.cancel()

    # --- what is sent ---------------------------------------------------------------------------

    def _send(self) -> None:
        """Open requests while there are slots and texts."""
        if self._pause is not None:
            return
        while len(self._requests) < self._pace.limit:
            batch = self._find_batch()
            if batch is None:
                break
            # of no caller's context: a request carries texts of several
            task = asyncio.create_task(self._request(batch), name="embedding-request", context=Context())
            self._requests[task] = batch
            task.add_done_callback(self._close_request)
        EMBEDDING_LIMIT.labels(self._embedder.model).set(self._pace.limit)

    def _find_batch(self) -> Batch | None:
        """The next request, without texts that nobody waits for any more."""
        while True:
            if not self._batches:
                self._form_window()
            if not self._batches:
                return None
            batch = self._batches.popleft()
            batch.texts = [text for text in batch.texts if not text.ticket.answer.done()]
            if not batch.texts:
                self._size.forget(batch.split)
            elif len(batch.texts) > self._size.max_texts or (
                len(batch.texts) > 1 and batch.cost > self._size.max_tokens
            ):
                # packed before the bounds were known
                self._size.forget(batch.split)
                self._batches.extendleft(reversed(self._pack(batch.texts)))
            elif self._may_be_fuller(batch):
                # more has come since it was packed
                self._put_back(batch)
            else:
                return batch

    def _may_be_fuller(self, batch: Batch) -> bool:
        """Whether it has room for texts that wait, and was not put back for that before."""
        is_plain = batch.split is None and not batch.tries and not any(text.waited for text in batch.texts)
        has_room = len(batch.texts) < self._size.max_texts and 2 * batch.cost <= self._size.max_tokens
        return is_plain and has_room and bool(self._queue)

    def _put_back(self, batch: Batch) -> None:
        """Pack its texts with the next window."""
        self._carried += batch.texts
        for text in batch.texts:
            text.waited = True

    def _form_window(self) -> None:
        texts, self._carried = self._carried, []
        texts += self._queue.take(
            max_texts=WINDOW_REQUESTS * self._size.max_texts - len(texts),
            max_tokens=WINDOW_REQUESTS * self._size.max_tokens - sum(text.tokens for text in texts),
        )
        batches = self._pack(texts)
        if len(batches) > 1 and self._queue and not any(text.waited for text in batches[-1].texts):
            # the last is not full; there is more to fill it with, and something else to send meanwhile
            self._put_back(batches.pop())
        self._batches.extend(batches)

    def _pack(self, texts: Sequence[Text]) -> list[Batch]:
        packed = pack_batches(
            [text.tokens for text in texts], max_texts=self._size.max_texts, max_tokens=self._size.max_tokens
        )
        return [Batch([texts[place] for place in places]) for places in packed]

    # --- what comes back ------------------------------------------------------------------------

    async def _request(self, batch: Batch) -> None:
        started = time.monotonic()
        owners = Counter(text.ticket.customer for text in batch.texts)
        outcome = "ok"
        try:
            with ExitStack() as stack:
                for customer, count in owners.items():
                    stack.enter_context(customer.busy(count))
                vectors = await self._embedder.embed_documents([text.ticket.texts[text.index] for text in batch.texts])
        except EmbedderUnavailableError as error:
            outcome = error.code
            await self._put_off(batch, error, started)
        except EmbedderDimensionError as error:
            outcome = error.code
            raise
        except (EmbedderBatchTooLargeError, EmbedderRejectedError, EmbedderGarbageError) as error:
            outcome = error.code
            await self._isolate(batch, error)
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        else:
            self._settle(batch, vectors)
        finally:
            EMBEDDING_REQUESTS.labels(self._embedder.model, outcome).inc()

    def _close_request(self, task: asyncio.Task[None]) -> None:
        """Free its slot; what it could not handle is the error of all whose texts it carried."""
        batch = self._requests.pop(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            self._size.forget(batch.split)
        if error is not None:
            for text in batch.texts:
                text.ticket.fail(error)
        self._send()

    def _settle(self, batch: Batch, vectors: Vectors) -> None:
        self._failures = 0
        self._size.accept(len(batch.texts), batch.split)
        waiting = bool(self._batches or self._queue or self._carried)
        self._pace.succeed(
            sum(text.tokens for text in batch.texts), full=waiting and len(self._requests) >= self._pace.limit
        )
        if self._why is not None:
            self._why = None
            self._tell(self._customers(), None)
        for text, vector in zip(batch.texts, vectors, strict=True):
            ticket = text.ticket
            if len(vector) != ticket.vectors.shape[1]:
                expected = ticket.vectors.shape[1]
                ticket.fail(EmbedderDimensionError(self._embedder.model, expected=expected, actual=len(vector)))
            else:
                ticket.vectors[text.index] = vector
                ticket.settle()

    async def _isolate(self, batch: Batch, error: DomainError) -> None:
        """Send a refused request in halves; at the end, find the text that is to blame, if it is a text."""
        self._size.forget(batch.split)
        if len(batch.texts) > 1:
            too_large = isinstance(error, EmbedderBatchTooLargeError)
            split = self._size.suspect(len(batch.texts), batch.cost) if too_large else None
            middle = len(batch.texts) // 2
            for texts in (batch.texts[middle:], batch.texts[:middle]):
                self._batches.appendleft(Batch(texts, tries=min(batch.tries, TRIES - TRIES_OF_A_HALF), split=split))
            return
        started = time.monotonic()
        try:
            # a text is blamed only while the model still embeds one that it has embedded before
            await self._embedder.embed_documents(CANARY_TEXTS[:1])
        except EmbedderUnavailableError as away:
            self._pause_line(batch, away, started)
            return
        ticket, index = batch.texts[0].ticket, batch.texts[0].index
        ticket.refused[index] = error
        ticket.settle()

    # --- a model that is away or overloaded -----------------------------------------------------

    async def _put_off(self, batch: Batch, error: EmbedderUnavailableError, started: float) -> None:
        """Keep a request for later, unless its own texts are what the model fails at."""
        is_overloaded = isinstance(error, EmbedderOverloadedError)
        batch.tries += not is_overloaded
        if batch.tries < TRIES and self._failures < TRIES - 1:
            self._pause_line(batch, error, started)
            return
        if is_overloaded:
            self._give_up(error)
            raise error
        try:
            await self._embedder.embed_documents(CANARY_TEXTS[:1])
        except EmbedderUnavailableError:
            self._give_up(error)
            raise error from None
        self._failures = 0
        await self._isolate(batch, EmbedderRejectedError(f"the model fails at a text again and again: {error.message}"))

    def _pause_line(self, batch: Batch, error: EmbedderUnavailableError, started: float) -> None:
        self._batches.appendleft(batch)
        self._pace.back_off(started)
        if started < self._paused_at:
            return  # one of those that were sent together; the line pauses already, or has
        pause = choose_pause(error, self._failures, first_seconds=self._first_pause_seconds)
        self._failures += 1
        self._paused_at = time.monotonic()
        if self._pause is not None:
            self._pause.cancel()
        self._pause = asyncio.get_running_loop().call_later(pause, self._resume)
        self._why = explain_pause(error, pause)
        self._tell(self._customers(), self._why)

    def _resume(self) -> None:
        self._pause = None
        for ticket in list(self._tickets):
            try:
                ticket.customer.go_on()
            except DomainError as error:
                ticket.fail(error)
        self._send()

    def _give_up(self, error: EmbedderUnavailableError) -> None:
        """The model stays away: all who wait get the error, and whoever comes next starts anew."""
        self._failures = 0
        self._why = None
        for ticket in self._tickets:
            ticket.fail(error)

    def _customers(self) -> list[Customer]:
        return list({ticket.customer.operation: ticket.customer for ticket in self._tickets}.values())

    def _tell(self, customers: Sequence[Customer], why: str | None) -> None:
        """Tell customers in the background, one message after the other."""

        async def tell(after: asyncio.Task[None] | None) -> None:
            if after is not None:
                await asyncio.wait({after})
            for customer in customers:
                await customer.on_wait(why)

        self._telling = asyncio.create_task(tell(self._telling), context=Context())


class EmbeddingLines:
    """The lines of one worker, one a model.

    Args:
        find_embedder: raises UnknownModelError.
        max_texts, max_tokens, concurrency: see ``EmbeddingLine``.
    """

    def __init__(
        self, find_embedder: Callable[[str], Embedder], *, max_texts: int, max_tokens: int, concurrency: int
    ) -> None:
        self._find_embedder = find_embedder
        self._bounds = {"max_texts": max_texts, "max_tokens": max_tokens, "concurrency": concurrency}
        self._lines: dict[str, EmbeddingLine] = {}

    def find(self, model: str) -> EmbeddingLine:
        """Raises UnknownModelError."""
        if model not in self._lines:
            self._lines[model] = EmbeddingLine(self._find_embedder(model), **self._bounds)
        return self._lines[model]

    async def aclose(self) -> None:
        """Close all."""
        for line in self._lines.values():
            await line.aclose()
