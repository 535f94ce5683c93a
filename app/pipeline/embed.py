"""Texts to vectors, whatever the model server answers."""

from collections.abc import Mapping, Sequence
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


async def embed_batches(
    context: IngestContext, texts: Sequence[str], tokens: Sequence[int]
) -> tuple[Vectors, dict[int, DomainError]]:
    """Embed texts in the worker's line, whose errors and answers these are; see ``EmbeddingLine.embed``."""
    with context.account.queued("pack", len(texts)):
        return await context.line.embed(context.customer, texts, tokens, dimension=context.generation.dimension)
