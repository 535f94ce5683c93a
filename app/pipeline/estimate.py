"""How long embedding will take by what was measured, and what it costs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.domain.errors import EmbedderBatchTooLargeError
from app.domain.ports import Embedder
from app.embedders.fingerprint import CANARY_TEXTS

LANES_OF_STORE = 4
MARGIN = 0.2
"""By how much a run may be faster or slower than anything measured."""
GUESSED_STORE_SHARE = 0.5
"""Busy time of storing where none was measured, as a share of the rest."""
BESIDE = 0.3
"""How much of the shorter stages comes on top of the longest one, if that was measured beside them."""
FIXED_SECONDS = 1.0


class MeasuredBy(StrEnum):
    """Where rates come from."""

    COLLECTION = "collection"
    USER = "user"
    CALIBRATION = "calibration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model's provider asks for; ``currency`` is how a person writes it, as ``$`` or ``EUR``."""

    model: str
    per_million_tokens: float
    currency: str

    def cost_of(self, tokens: int) -> dict[str, Any]:
        """The cost of embedding so many tokens."""
        return {"amount": round(tokens * self.per_million_tokens / 1e6, 6), "currency": self.currency}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What one operation gets through, at the slowest and at the fastest that was measured.

    Attributes:
        slowest, fastest: tokens the embedder makes into vectors in a second.
        store_seconds: busy time of storing one point; None if none was measured.
    """

    slowest: float
    fastest: float
    store_seconds: float | None
    measured_by: MeasuredBy


def read_rates(results: Sequence[Mapping[str, Any]], measured_by: MeasuredBy) -> Rates | None:
    """Rates of operations that have completed, by their results; None if they say nothing."""
    embedding, seconds, points = [], 0.0, 0
    for result in results:
        busy = float(result.get("seconds") or 0) * float(result.get("embedder_busy_ratio") or 0)
        stored = (result.get("stages") or {}).get("store") or {}
        if busy > 0:
            embedding.append(float(result.get("tokens") or 0) / busy)
            seconds += float(stored.get("seconds") or 0)
            points += int(stored.get("items") or 0)
    if not embedding or not min(embedding) > 0:
        return None
    store = seconds / points if points else None
    return Rates(slowest=min(embedding), fastest=max(embedding), store_seconds=store, measured_by=measured_by)


async def calibrate(embedder: Embedder, texts: Sequence[str], *, tokens: Sequence[int], lanes: int) -> Rates:
    """Embed one batch and time it; ``lanes`` such requests may run at once, or get in each other's way.

    Raises:
        DomainError: as ``Embedder.embed_documents``; a batch that is too large for the server is halved.
    """
    # the first call may load the model
    await embedder.embed_documents(CANARY_TEXTS[:1])
    number = len(texts)
    while True:
        started = time.monotonic()
        try:
            await embedder.embed_documents(texts[:number])
            break
        except EmbedderBatchTooLargeError:
            if number == 1:
                raise
            number //= 2
    rate = sum(tokens[:number]) / max(time.monotonic() - started, 1e-6)
    return Rates(slowest=rate, fastest=rate * lanes, store_seconds=None, measured_by=MeasuredBy.CALIBRATION)


def estimate_seconds(rates: Rates | None, *, prepare_seconds: float, tokens: int, points: int) -> list[float]:
    """The shortest and the longest time an operation may take.

    At best all stages run beside each other and take what the slowest takes. At worst they get in each other's way: a
    rate measured in an operation has most of that in it already, one of a calibration has nothing of it.

    Args:
        rates: None if nothing has to be embedded.
        prepare_seconds: what scanning, reading, extracting and chunking took.
        tokens: to be embedded.
        points: to be stored.
    """
    fast = slow = store = 0.0
    beside = BESIDE
    if rates is not None:
        fast, slow, store = tokens / rates.fastest, tokens / rates.slowest, points * (rates.store_seconds or 0.0)
    if rates is not None and rates.measured_by is MeasuredBy.CALIBRATION:
        beside, store = 1.0, (prepare_seconds + slow) * GUESSED_STORE_SHARE
    stages = (prepare_seconds, slow, store / LANES_OF_STORE)
    low = max(prepare_seconds, fast)
    high = max(stages) + beside * (sum(stages) - max(stages))
    return [round(low * (1 - MARGIN), 1), round(high * (1 + MARGIN) + FIXED_SECONDS, 1)]
