"""Answers of ``/v1/embeddings``; child processes read large ones, so little is imported here."""

import base64

import numpy as np
import orjson

from app.domain.errors import EmbedderGarbageError
from app.domain.points import Vectors


def decode_answer(content: bytes, count: int) -> Vectors:
    """Vectors of an answer in the order of its indices, normalised; base64 or lists of numbers.

    Raises:
        EmbedderGarbageError: for anything that is not ``count`` finite vectors of one length.
    """
    try:
        with np.errstate(over="ignore"):
            rows = sorted(orjson.loads(content)["data"], key=lambda row: row["index"])
            if [row["index"] for row in rows] != list(range(count)):
                raise EmbedderGarbageError(f"the model answers {len(rows)} vectors for {count} texts, or not one each")
            vectors: Vectors = np.stack([_decode_vector(row["embedding"]) for row in rows]).astype(np.float32)
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    except (KeyError, TypeError, ValueError) as error:
        raise EmbedderGarbageError("the model's answer cannot be read") from error
    if vectors.ndim != 2 or not np.isfinite(norms).all() or not (norms > 0).all():
        raise EmbedderGarbageError("the model answers a vector that is zero or not finite")
    vectors /= norms
    return vectors


def _decode_vector(value: str | list[float]) -> Vectors:
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4")
    return np.asarray(value, dtype=np.float32)
