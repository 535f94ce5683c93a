"""Canary texts: whether a model still gives the vectors it gave when a generation was created."""

import hashlib

import numpy as np

from app.domain.errors import EmbedderChangedError, EmbedderDimensionError
from app.domain.points import Vectors
from app.domain.ports import Embedder

CANARY_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Der Vertrag tritt am 1. Januar in Kraft und gilt fünf Jahre.",
    "def add(a, b): return a + b",
)
SMALLEST_COSINE = 0.999


async def take_canaries(embedder: Embedder) -> tuple[str, bytes]:
    """Fingerprint (hex) of a model and its canary embeddings, float32 bytes of shape ``(3, dimension)``."""
    vectors = await embedder.embed_documents(CANARY_TEXTS)
    digest = hashlib.sha256(embedder.model.encode() + vectors.astype("<f2").tobytes())
    return digest.hexdigest(), vectors.astype("<f4").tobytes()


def dimension_of(canaries: bytes) -> int:
    """Length of the vectors that canary embeddings are made of."""
    return len(canaries) // (np.dtype("<f4").itemsize * len(CANARY_TEXTS))


def is_same_model(canaries: bytes, others: bytes) -> bool:
    """Whether two sets of canary embeddings are of one model, whatever name a server calls it by."""
    one, other = (np.frombuffer(given, dtype="<f4") for given in (canaries, others))
    if len(one) != len(other):
        return False
    cosines = (one * other).reshape(len(CANARY_TEXTS), -1).sum(axis=1)
    return bool(cosines.min() >= SMALLEST_COSINE)


async def check_canaries(embedder: Embedder, canaries: bytes, dimension: int) -> None:
    """Raise EmbedderChangedError if the model's vectors are not those it gave before.

    Models on other hardware or in other batches answer slightly different vectors, so cosines are compared.
    """
    expected: Vectors = np.frombuffer(canaries, dtype="<f4").reshape(len(CANARY_TEXTS), -1)
    try:
        vectors = await _embed_canaries(embedder)
    except EmbedderDimensionError as error:
        raise EmbedderChangedError(embedder.model, 0.0) from error
    if not vectors.shape == expected.shape == (len(CANARY_TEXTS), dimension):
        raise EmbedderChangedError(embedder.model, 0.0)
    cosine = float((vectors * expected).sum(axis=1).min())
    if not cosine >= SMALLEST_COSINE:
        raise EmbedderChangedError(embedder.model, cosine)


async def _embed_canaries(embedder: Embedder) -> Vectors:
    """The length that an embedder remembers may be that of an answer that was wrong itself, so it has a second try."""
    try:
        return await embedder.embed_documents(CANARY_TEXTS)
    except EmbedderDimensionError:
        return await embedder.embed_documents(CANARY_TEXTS)
