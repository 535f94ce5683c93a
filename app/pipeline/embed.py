"""Texts to vectors, whatever the model server answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.domain.errors import DomainError
from app.domain.identity import text_hash
from app.domain.points import Vectors
from app.pipeline.context import IngestContext
from app.pipeline.shared import Outcome


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of some texts.

    ``vectors`` are float32 of shape ``(n, dimension)`` in the order of the texts. ``refused`` has an error for each
    text that the model refuses on its own (its row is zero). ``new`` are the texts that cost work of the model.
    ``cache_hits`` and ``cache_misses`` say how many were looked up in the cache, and were there or not.
    """

    vectors: Vectors
    refused: dict[int, DomainError]
    new: set[int]
    cache_hits: int
    cache_misses: int


async def embed_texts(
    context: IngestContext,
    texts: Sequence[str],
    tokens: Sequence[int],
    *,
    known: Mapping[bytes, Vectors],
    on_answer: Callable[[], None],
) -> Embedded:
    """Vectors of texts; not embedded again are ``known`` ones (by ``text_hash``), cached ones and those on their way.

    ``on_answer`` is called for each text that the model has answered.

    Raises:
        DomainError: see ``embed_batches``.
    """
    vectors = np.zeros((len(texts), context.generation.dimension), dtype=np.float32)
    refused: dict[int, DomainError] = {}
    new: set[int] = set()
    hits = 0
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
            outcomes |= await _find_cached(context, texts, mine)
            hits += len(outcomes)
            missing = [index for index in mine if index not in outcomes]
            made, errors = await embed_batches(
                context, [texts[index] for index in missing], [tokens[index] for index in missing], on_answer
            )
            outcomes |= {index: errors.get(place, made[place]) for place, index in enumerate(missing)}
        finally:
            for index in mine:
                context.shared.settle(keys[index], outcomes.get(index))
        new.update(missing)
        await _keep(context, texts, {index: outcomes[index] for index in missing})
        waiting = {left[place]: future for place, future in claims.shared.items()}
        outcomes |= {index: await future for index, future in waiting.items()}
        for index, outcome in outcomes.items():
            if isinstance(outcome, DomainError):
                refused[index] = outcome
            elif outcome is not None:
                vectors[index] = outcome
        left = [index for index, outcome in outcomes.items() if outcome is None]
    return Embedded(vectors, refused, new, hits, len(new) if context.cache is not None else 0)


async def _find_cached(context: IngestContext, texts: Sequence[str], indices: Sequence[int]) -> dict[int, Outcome]:
    if context.cache is None or not indices:
        return {}
    found = await context.cache.find([texts[index] for index in indices])
    return {indices[place]: vector for place, vector in found.items()}


async def _keep(context: IngestContext, texts: Sequence[str], made: Mapping[int, Outcome]) -> None:
    vectors = {index: vector for index, vector in made.items() if isinstance(vector, np.ndarray)}
    if context.cache is not None and vectors:
        await context.cache.keep([texts[index] for index in vectors], np.stack(list(vectors.values())))


async def embed_batches(
    context: IngestContext, texts: Sequence[str], tokens: Sequence[int], on_answer: Callable[[], None] | None = None
) -> tuple[Vectors, dict[int, DomainError]]:
    """Embed texts in the worker's line, whose errors and answers these are; see ``EmbeddingLine.embed``."""
    with context.account.queued("pack", len(texts)):
        dimension = context.generation.dimension
        return await context.line.embed(context.customer, texts, tokens, dimension=dimension, on_answer=on_answer)
