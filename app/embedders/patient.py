"""Waits for a model that is away or overloaded, so that its callers need not."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from app.domain.errors import TransientError
from app.domain.points import Vectors
from app.domain.ports import Embedder, Reranker

TRIES = 6
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 20.0

Answer = TypeVar("Answer")


def choose_pause(error: TransientError, number: int, *, first_seconds: float = FIRST_PAUSE_SECONDS) -> float:
    """Seconds until the next try, with jitter: as long as the model asked for, or ever longer with each earlier try."""
    pause = error.retry_after_seconds or first_seconds * 2**number
    return min(pause, LONGEST_PAUSE_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311 — jitter


def explain_pause(error: TransientError, seconds: float) -> str:
    """What a person is told meanwhile."""
    return f"{error.message}; asking again in {seconds:.0f} s"


class Patience:
    """Asks again after a pause, several times.

    Args:
        away: what is raised by who cannot answer now.
        go_on: called after each pause; it raises if there is no sense in trying again.
        on_wait: told why it waits, and None once an answer has come again.
    """

    def __init__(
        self,
        away: type[TransientError],
        *,
        go_on: Callable[[], None],
        on_wait: Callable[[str | None], Awaitable[None]],
    ) -> None:
        self._away = away
        self._go_on = go_on
        self._on_wait = on_wait
        self._is_waiting = False

    async def wait_for(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """The first answer; the last try's error is raised."""
        for number in range(TRIES - 1):
            try:
                answer = await ask()
            except self._away as error:
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


class PatientEmbedder:
    """``Embedder`` for operations. A search does not use it: its user would rather have the error."""

    def __init__(self, inner: Embedder, patience: Patience) -> None:
        self._inner = inner
        self._patience = patience

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
        return await self._patience.wait_for(self._inner.dimension)

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See the port."""
        return await self._patience.wait_for(lambda: self._inner.embed_documents(texts))

    async def embed_query(self, text: str) -> Vectors:
        """See the port."""
        return await self._patience.wait_for(lambda: self._inner.embed_query(text))

    async def aclose(self) -> None:
        """See the port."""
        await self._inner.aclose()


class PatientReranker:
    """``Reranker`` for operations, as ``PatientEmbedder``."""

    def __init__(self, inner: Reranker, patience: Patience) -> None:
        self._inner = inner
        self._patience = patience

    async def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """See the port."""
        return await self._patience.wait_for(lambda: self._inner.score(query, texts))

    async def aclose(self) -> None:
        """See the port."""
        await self._inner.aclose()
