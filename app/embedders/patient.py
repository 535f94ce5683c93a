"""An embedder that waits for a model that is away or overloaded, so that its callers need not."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from app.domain.errors import EmbedderUnavailableError
from app.domain.points import Vectors
from app.domain.ports import Embedder

TRIES = 6
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 20.0

Answer = TypeVar("Answer")


def choose_pause(error: EmbedderUnavailableError, number: int, *, first_seconds: float = FIRST_PAUSE_SECONDS) -> float:
    """Seconds until the next try, with jitter: as long as the model asked for, or ever longer with each earlier try."""
    pause = error.retry_after_seconds or first_seconds * 2**number
    return min(pause, LONGEST_PAUSE_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311 — jitter


def explain_pause(error: EmbedderUnavailableError, seconds: float) -> str:
    """What a person is told meanwhile."""
    return f"{error.message}; asking again in {seconds:.0f} s"


class PatientEmbedder:
    """``Embedder`` for operations. A search does not use it: its user would rather have the error.

    Args:
        inner: who embeds.
        go_on: called after each pause; it raises if there is no sense in trying again.
        on_wait: told why it waits, and None once an answer has come again.
    """

    def __init__(
        self, inner: Embedder, *, go_on: Callable[[], None], on_wait: Callable[[str | None], Awaitable[None]]
    ) -> None:
        self._inner = inner
        self._go_on = go_on
        self._on_wait = on_wait
        self._is_waiting = False

    @property
    def model(self) -> str:
        """See the port."""
        return self._inner.model

    @property
    def cache_prefix(self) -> str | None:
        """See the port."""
        return self._inner.cache_prefix

    async def dimension(self) -> int:
        """See the port."""
        return await self._try(self._inner.dimension)

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See the port."""
        return await self._try(lambda: self._inner.embed_documents(texts))

    async def embed_query(self, text: str) -> Vectors:
        """See the port."""
        return await self._try(lambda: self._inner.embed_query(text))

    async def aclose(self) -> None:
        """See the port."""
        await self._inner.aclose()

    async def _try(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask again after a pause, several times."""
        for number in range(TRIES - 1):
            try:
                answer = await ask()
            except EmbedderUnavailableError as error:
                pause = choose_pause(error, number)
                self._is_waiting = True
                await self._on_wait(explain_pause(error, pause))
            else:
                if self._is_waiting:
                    self._is_waiting = False
                    await self._on_wait(None)
                return answer
            await asyncio.sleep(pause)
            self._go_on()
        return await ask()
