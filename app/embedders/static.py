"""WordLlama: averaged token vectors whose weights come inside its wheel; no download, no model server."""

import asyncio
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import wordllama
from tokenizers import Tokenizer

from app.domain.errors import (
    DomainError,
    EmbedderRejectedError,
    EmbedderUnavailableError,
    ProcessDiedError,
    ProcessTimeoutError,
)
from app.domain.points import Vectors
from app.domain.ports import Processes

MODEL = "wordllama"
DIMENSION = 256
CHILD_SECONDS = 120.0
CHILD_TRIES = 3
POOL_TOKENS = 8192


@cache
def load_model() -> tuple[Tokenizer, Vectors]:
    """Tokenizer and token vectors, shape ``(vocabulary, 256)``, loaded once a process.

    The wheel's own folder is where the weights really are.
    """
    folder = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    model.tokenizer.no_padding()
    return model.tokenizer, model.embedding


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


async def _embed_in_child(processes: Processes, texts: list[str]) -> Vectors:
    """Embed in a child process, in another one if it is killed: no text of people can crash a lookup in a table.

    Raises:
        EmbedderUnavailableError: if children end again and again, or one takes too long.
        EmbedderRejectedError: if the library fails at one of the texts.
    """
    tries_left = CHILD_TRIES
    while True:
        tries_left -= 1
        try:
            return await processes.run(embed_texts, texts, timeout_seconds=CHILD_SECONDS)
        except (ProcessDiedError, MemoryError) as error:
            if tries_left == 0:
                message = f"{CHILD_TRIES} child processes ended while they embedded: {str(error) or 'memory ran out'}"
                raise EmbedderUnavailableError(message) from error
        except ProcessTimeoutError as error:
            raise EmbedderUnavailableError(f"embedding in a child process failed: {error.message}") from error
        except DomainError:
            raise
        except Exception as error:
            raise EmbedderRejectedError(f"the library fails at a text ({type(error).__name__})") from error


class StaticEmbedder:
    """``Embedder`` over WordLlama; documents are embedded in child processes where there are some."""

    model = MODEL
    cache_prefix = None

    def __init__(self, processes: Processes | None = None) -> None:
        self._processes = processes

    async def dimension(self) -> int:
        """Always 256."""
        return DIMENSION

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See the port."""
        if self._processes is None:
            return await asyncio.to_thread(embed_texts, texts)
        return await _embed_in_child(self._processes, list(texts))

    async def embed_query(self, text: str) -> Vectors:
        """See the port; in a thread, for a query waits for nobody's documents."""
        vector: Vectors = (await asyncio.to_thread(embed_texts, [text]))[0]
        return vector

    async def aclose(self) -> None:
        """Nothing is open."""
