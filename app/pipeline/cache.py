"""Vectors kept in Postgres, so that a text that comes again costs no work of the model."""

import hashlib
import zlib
from collections.abc import Sequence

import numpy as np

from app.db.database import Database
from app.db.embedding_cache import EmbeddingCacheRepository
from app.domain.points import Vectors
from app.metrics import EMBEDDING_CACHE
from app.pipeline.vector_check import are_units

CHECK_BYTES = 4


class EmbeddingCache:
    """Vectors of one model as it is now.

    A row is the vector in half precision and a checksum of key and vector: a row that is damaged, or another's, is not
    used, and replaced.

    Args:
        fingerprint: the generation's.
        prefix: what the embedder puts before each text.
    """

    def __init__(self, database: Database, *, fingerprint: str, prefix: str, dimension: int) -> None:
        self._database = database
        self._dimension = dimension
        self._seed = hashlib.sha256(f"{fingerprint}\0{dimension}\0{len(prefix)}\0{prefix}".encode("utf-8", "replace"))

    def key_of(self, text: str) -> bytes:
        """Hash of the model, its prefix, the dimension and the text as it is sent."""
        digest = self._seed.copy()
        digest.update(text.encode("utf-8", "replace"))
        return digest.digest()

    async def find(self, texts: Sequence[str]) -> dict[int, Vectors]:
        """Vectors of the texts that are known, by their index: float32 of norm 1."""
        keys = [self.key_of(text) for text in texts]
        async with self._database.begin() as connection:
            rows = await EmbeddingCacheRepository(connection).find(list(dict.fromkeys(keys)))
        sound = {index: rows[key] for index, key in enumerate(keys) if key in rows and self._is_sound(key, rows[key])}
        damaged = sum(key in rows for key in keys) - len(sound)
        found: dict[int, Vectors] = {}
        if sound:
            content = b"".join(row[:-CHECK_BYTES] for row in sound.values())
            vectors = np.frombuffer(content, dtype="<f2").reshape(len(sound), self._dimension).astype(np.float32)
            usable = are_units(vectors)
            vectors[usable] /= np.linalg.norm(vectors[usable], axis=1, keepdims=True)
            found = {index: vectors[row] for row, index in enumerate(sound) if usable[row]}
        EMBEDDING_CACHE.labels("hit").inc(len(found))
        EMBEDDING_CACHE.labels("miss").inc(len(texts) - len(found))
        EMBEDDING_CACHE.labels("damaged").inc(damaged)
        return found

    async def keep(self, texts: Sequence[str], vectors: Vectors) -> None:
        """Keep the vectors of texts, row by row."""
        halves = vectors.astype("<f2")
        rows: dict[bytes, bytes] = {}
        for text, half in zip(texts, halves, strict=True):
            key, content = self.key_of(text), half.tobytes()
            rows[key] = content + _checksum(key, content)
        if rows:
            async with self._database.begin() as connection:
                await EmbeddingCacheRepository(connection).put(rows)

    def _is_sound(self, key: bytes, row: bytes) -> bool:
        content, check = row[:-CHECK_BYTES], row[-CHECK_BYTES:]
        return len(content) == 2 * self._dimension and check == _checksum(key, content)


def _checksum(key: bytes, content: bytes) -> bytes:
    return zlib.crc32(content, zlib.crc32(key)).to_bytes(CHECK_BYTES, "little")
