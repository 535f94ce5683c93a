"""Texts to vectors, whatever the model server answers."""

import asyncio
import random
from collections.abc import Sequence

import numpy as np

from app.domain.errors import (
    DomainError,
    EmbedderBatchTooLargeError,
    EmbedderGarbageError,
    EmbedderRejectedError,
    EmbedderUnavailableError,
)
from app.domain.points import Vectors
from app.pipeline.context import IngestContext
from app.pipeline.pack import pack_batches

PATIENCE_TRIES = 6
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 20.0


async def embed_texts(
    context: IngestContext, texts: Sequence[str], tokens: Sequence[int]
) -> tuple[Vectors, dict[int, DomainError]]:
    """Embed texts in packed batches, several in flight.

    Returns:
        Float32 of shape ``(n, dimension)`` in the order of ``texts``, and an error for each text that the model
        refuses on its own (its row is zero).

    Raises:
        EmbedderUnavailableError: if the model stays away longer than a few patient tries.
    """
    vectors = np.zeros((len(texts), context.generation.dimension), dtype=np.float32)
    refused: dict[int, DomainError] = {}

    async def embed_batch(indices: list[int]) -> None:
        async with context.embed_slots:
            try:
                with context.account.embedding(len(indices)):
                    vectors[indices] = await _embed_patiently(context, [texts[index] for index in indices])
            except (EmbedderBatchTooLargeError, EmbedderRejectedError, EmbedderGarbageError) as error:
                if len(indices) == 1:
                    refused[indices[0]] = error
                    return
            else:
                return
        middle = len(indices) // 2
        await embed_batch(indices[:middle])
        await embed_batch(indices[middle:])

    limits = context.limits
    batches = pack_batches(tokens, max_texts=limits.embedding_batch_size, max_tokens=limits.embedding_batch_tokens)
    async with asyncio.TaskGroup() as group:
        for batch in batches:
            group.create_task(embed_batch(batch))
    return vectors, refused


async def _embed_patiently(context: IngestContext, texts: list[str]) -> Vectors:
    """Try again while the model is away or overloaded, as long as it asks for, with jitter."""
    for attempt in range(PATIENCE_TRIES):
        try:
            return await context.embedder.embed_documents(texts)
        except EmbedderUnavailableError as error:
            if attempt == PATIENCE_TRIES - 1:
                raise
            pause = error.retry_after_seconds or FIRST_PAUSE_SECONDS * 2**attempt
            await asyncio.sleep(min(pause, LONGEST_PAUSE_SECONDS) * random.uniform(0.8, 1.2))  # noqa: S311 — jitter
            context.require_lease()
    raise AssertionError("unreachable: the last try returns or raises")
