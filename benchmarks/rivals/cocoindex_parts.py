"""What both set-ups of CocoIndex share: its splitter, and texts embedded in batches of what has gathered."""

import pathlib
from functools import cache

import cocoindex as coco
import numpy as np
from cocoindex.ops.text import RecursiveSplitter
from cocoindex.resources.chunk import Chunk
from numpy.typing import NDArray
from openai import AsyncOpenAI

from benchmarks.rivals.ingestion import BYTES_PER_TOKEN, CHUNK_OVERLAP_TOKENS, CHUNK_TOKENS, MODEL

BATCH = 32
_splitter = RecursiveSplitter()


@cache
def open_client() -> AsyncOpenAI:
    """A client of the model server that the environment names; a batched function has no context to take it from."""
    return AsyncOpenAI()


@coco.fn.as_async(batching=True, max_batch_size=BATCH)
async def embed(texts: list[str]) -> list[NDArray[np.float32]]:
    """One request for what has gathered."""
    answer = await open_client().embeddings.create(model=MODEL, input=texts)
    return [np.asarray(row.embedding, dtype=np.float32) for row in answer.data]


def split_text(text: str, path: pathlib.PurePath) -> list[Chunk]:
    """Chunks of about as many tokens as everybody's; it measures bytes."""
    chunks: list[Chunk] = _splitter.split(
        text,
        chunk_size=CHUNK_TOKENS * BYTES_PER_TOKEN,
        chunk_overlap=CHUNK_OVERLAP_TOKENS * BYTES_PER_TOKEN,
        language=path.suffix,
    )
    return chunks
