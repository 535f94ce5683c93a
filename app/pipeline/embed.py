"""Texts to vectors, whatever the model server answers."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.domain.errors import (
    DomainError,
    EmbedderBatchTooLargeError,
    EmbedderDimensionError,
    EmbedderGarbageError,
    EmbedderRejectedError,
)
from app.domain.identity import text_hash
from app.domain.points import Vectors
from app.embedders.fingerprint import CANARY_TEXTS
from app.pipeline.context import IngestContext
from app.pipeline.pack import pack_batches
from app.pipeline.shared import Outcome


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of some texts.

    ``vectors`` are float32 of shape ``(n, dimension)`` in the order of the texts. ``refused`` has an error for each
    text that the model refuses on its own (its row is zero). ``new`` are the texts that cost work of the model.
    """

    vectors: Vectors
    refused: dict[int, DomainError]
    new: set[int]


async def embed_texts(
    context: IngestContext, texts: Sequence[str], tokens: Sequence[int], *, known: Mapping[bytes, Vectors]
) -> Embedded:
    """Vectors of texts: ``known`` ones (by ``text_hash``) and those somebody else embeds are not embedded again.

    Raises:
        DomainError: see ``embed_batches``.
    """
    vectors = np.zeros((len(texts), context.generation.dimension), dtype=np.float32)
    refused: dict[int, DomainError] = {}
    new: set[int] = set()
    keys = [text_hash(text) for text in texts]
    left = []
    for index, key in enumerate(keys):
        if key in known:
            vectors[index] = known[key]
        else:
            left.append(index)
    while left:
        claims = context.shared.claim([keys[index] for index in left])
        mine = [left[place] for place in claims.mine]
        outcomes: dict[int, Outcome] = {}
        try:
            made, errors = await embed_batches(
                context, [texts[index] for index in mine], [tokens[index] for index in mine]
            )
            outcomes = {index: errors.get(place, made[place]) for place, index in enumerate(mine)}
        finally:
            for index in mine:
                context.shared.settle(keys[index], outcomes.get(index))
        new.update(mine)
        waiting = {left[place]: future for place, future in claims.shared.items()}
        outcomes |= {index: await future for index, future in waiting.items()}
        for index, outcome in outcomes.items():
            if isinstance(outcome, DomainError):
                refused[index] = outcome
            elif outcome is not None:
                vectors[index] = outcome
        left = [index for index, outcome in outcomes.items() if outcome is None]
    return Embedded(vectors, refused, new)


async def _embed(context: IngestContext, texts: Sequence[str]) -> Vectors:
    """Vectors as long as those of the generation, whatever the embedder takes for right."""
    vectors = await context.embedder.embed_documents(texts)
    if vectors.shape[1] != context.generation.dimension:
        raise EmbedderDimensionError(
            context.embedder.model, expected=context.generation.dimension, actual=vectors.shape[1]
        )
    return vectors


async def embed_batches(
    context: IngestContext, texts: Sequence[str], tokens: Sequence[int]
) -> tuple[Vectors, dict[int, DomainError]]:
    """Embed texts in packed batches, several in flight.

    Returns:
        Float32 of shape ``(n, dimension)`` in the order of ``texts``, and an error for each text that the model
        refuses on its own (its row is zero).

    Raises:
        EmbedderUnavailableError: if the model stays away.
        EmbedderDimensionError: if its vectors have another length than the generation's.
        EmbedderRefusesAccessError, UnknownModelError: if it refuses whatever it is asked.
        EmbedderRejectedError, EmbedderBatchTooLargeError, EmbedderGarbageError: if it cannot embed any text at all.
    """
    vectors = np.zeros((len(texts), context.generation.dimension), dtype=np.float32)
    refused: dict[int, DomainError] = {}

    async def embed_batch(indices: list[int]) -> None:
        async with context.embed_slots:
            try:
                with context.account.embedding(len(indices)):
                    vectors[indices] = await _embed(context, [texts[index] for index in indices])
            except EmbedderDimensionError:
                raise
            except (EmbedderBatchTooLargeError, EmbedderRejectedError, EmbedderGarbageError) as error:
                if len(indices) == 1:
                    # a text is blamed only while the model still embeds one that it has embedded before
                    await context.embedder.embed_documents(CANARY_TEXTS[:1])
                    refused[indices[0]] = error
                    return
            else:
                return
        middle = len(indices) // 2
        await embed_batch(indices[:middle])
        await embed_batch(indices[middle:])

    limits = context.limits
    most_texts, most_tokens = limits.embedding_batch_size, limits.embedding_batch_tokens
    with context.account.timed("pack", len(texts)):
        batches = pack_batches(tokens, max_texts=most_texts, max_tokens=most_tokens)
    try:
        async with asyncio.TaskGroup() as group:
            for batch in batches:
                group.create_task(embed_batch(batch))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return vectors, refused
