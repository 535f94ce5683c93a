"""WordLlama: averaged token vectors whose weights come inside its wheel; no download, no model server."""

import asyncio
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import wordllama

from app.domain.points import Vectors
from app.domain.ports import Processes

MODEL = "wordllama"
DIMENSION = 256
CHILD_SECONDS = 120.0


@cache
def load_model() -> Any:  # noqa: ANN401 — the library has no types
    """The model, loaded once a process. The wheel's own folder is where the weights really are."""
    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)


def embed_texts(texts: Sequence[str]) -> Vectors:
    """Float32 of shape ``(n, 256)``, rows of norm 1. A text without any token gets the first axis."""
    if not texts:
        return np.zeros((0, DIMENSION), dtype=np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        vectors = load_model().embed(list(texts), norm=True).astype(np.float32, copy=False)
    empty = ~np.isfinite(vectors).all(axis=1)
    vectors[empty] = 0.0
    vectors[empty, 0] = 1.0
    return np.ascontiguousarray(vectors)


class StaticEmbedder:
    """``Embedder`` over WordLlama; documents are embedded in child processes where there are some."""

    model = MODEL

    def __init__(self, processes: Processes | None = None) -> None:
        self._processes = processes

    async def dimension(self) -> int:
        """Always 256."""
        return DIMENSION

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See the port."""
        if self._processes is None:
            return await asyncio.to_thread(embed_texts, texts)
        return await self._processes.run(embed_texts, list(texts), timeout_seconds=CHILD_SECONDS)

    async def embed_query(self, text: str) -> Vectors:
        """See the port; in a thread, for a query waits for nobody's documents."""
        vector: Vectors = (await asyncio.to_thread(embed_texts, [text]))[0]
        return vector

    async def aclose(self) -> None:
        """Nothing is open."""
