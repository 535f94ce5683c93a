"""An embedder whose vectors cost nothing, so that what is left is what everything else costs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from app.domain.operations import Operation
from app.domain.points import Vectors
from app.jobs.context import Job, JobContext
from app.pipeline.embedding_line import EmbeddingLines

FREE = "free"
"""The body of a worker whose embedder costs nothing."""

DIMENSION = 256
VECTORS = 4096


class FreeEmbedder:
    """``Embedder`` that picks one of some unit vectors by a text's hash."""

    model = "wordllama"

    def __init__(self) -> None:
        table = np.random.default_rng(0).standard_normal((VECTORS, DIMENSION), dtype=np.float32)
        self._table: Vectors = table / np.linalg.norm(table, axis=1, keepdims=True)

    async def dimension(self) -> int:
        """See the port."""
        return DIMENSION

    @property
    def cache_prefix(self) -> str | None:
        """See the port; its vectors cost less than a look-up."""
        return None

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See the port."""
        return self._table[[_pick(text) for text in texts]]

    async def embed_query(self, text: str) -> Vectors:
        """See the port."""
        vector: Vectors = self._table[_pick(text)]
        return vector

    async def aclose(self) -> None:
        """Nothing is open."""


def _pick(text: str) -> int:
    """The same in every process, unlike Python's own hash; cheap, for it looks at a few places only."""
    return (len(text) * 31 + sum(map(ord, text[:: max(1, len(text) // 8)]))) % VECTORS


def without_embedding(job: Job) -> Job:
    """The same job with the free embedder."""
    embedder = FreeEmbedder()

    async def run(context: JobContext, operation: Operation) -> dict[str, Any]:
        limits = context.resources.limits
        lines = EmbeddingLines(
            lambda _: embedder,
            max_texts=limits.embedding_batch_size,
            max_tokens=limits.embedding_batch_tokens,
            concurrency=limits.embedding_concurrency,
        )
        resources = replace(context.resources, find_embedder=lambda _: embedder, lines=lines)
        return await job(replace(context, resources=resources), operation)

    return run
