"""WordLlama: averaged token vectors whose weights come inside its wheel; no download, no model server."""

import asyncio
from collections.abc import Sequence
from functools import cache

import numpy as np
from tokenizers import Tokenizer

from app.domain.points import Vectors
from app.domain.ports import Processes
from app.embedders.child import embed_in_child
from app.embedders.wheel import load_tokenizer, read_vectors

MODEL = "wordllama"
DIMENSION = 256
POOL_TOKENS = 8192
SHORT_CHARACTERS = 512
"""Up to here a query takes less than what a thread costs: 0.15 ms, and under load several ms until it gets its turn."""


@cache
def load_model() -> tuple[Tokenizer, Vectors]:
    """Tokenizer and token vectors, shape ``(vocabulary, 256)``, loaded once a process."""
    return load_tokenizer(), read_vectors()


def embed_texts(texts: Sequence[str]) -> Vectors:
    """Float32 of shape ``(n, 256)``, rows of norm 1; a text without any token is the first axis.

    The same vectors as ``WordLlama.embed(texts, norm=True)``. That pads every text to the longest of its batch,
    which costs 2 to 4 times the CPU.
    """
    tokenizer, table = load_model()
    # the tokenizer refuses what is not UTF-8
    readable = [text.encode("utf-8", "replace").decode() for text in texts]
    vectors: Vectors = np.zeros((len(texts), DIMENSION), dtype=np.float32)
    for row, encoding in enumerate(tokenizer.encode_batch_fast(readable, add_special_tokens=False)):
        tokens = np.array(encoding.ids, dtype=np.int64)
        for start in range(0, len(tokens), POOL_TOKENS):
            vectors[row] += table.take(tokens[start : start + POOL_TOKENS], axis=0, mode="clip").sum(axis=0)
    # a sum points where the mean points
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[norms[:, 0] == 0, 0] = 1.0
    norms[norms == 0] = 1.0
    vectors /= norms
    return vectors


class StaticEmbedder:
    """``Embedder`` over WordLlama; documents are embedded in child processes where there are some."""

    model = MODEL
    cache_prefix = None

    def __init__(self, processes: Processes | None = None) -> None:
        self._processes = processes
        self._is_loaded = False

    async def dimension(self) -> int:
        """Always 256."""
        return DIMENSION

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See the port."""
        if self._processes is None:
            return await asyncio.to_thread(embed_texts, texts)
        return await embed_in_child(self._processes, embed_texts, list(texts))

    async def embed_query(self, text: str) -> Vectors:
        """See the port; in this process, for a query waits for nobody's documents."""
        if self._is_loaded and len(text) <= SHORT_CHARACTERS:
            return np.asarray(embed_texts([text])[0])
        vectors = await asyncio.to_thread(embed_texts, [text])
        self._is_loaded = True
        return np.asarray(vectors[0])

    async def aclose(self) -> None:
        """Nothing is open."""
