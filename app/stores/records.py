"""Bodies of Qdrant's REST API, straight from numpy and straight to it."""

import binascii
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from app.domain.points import PointBatch, PointId, ScoredPoint, StoredPoints, Vectors
from app.domain.sparse_settings import NO_LANGUAGE, SparseSettings

DENSE = "dense"
SPARSE = "bm25"
BM25_MODEL = "qdrant/bm25"


def write_words(text: str, sparse: SparseSettings) -> dict[str, Any]:
    """A text whose sparse vector the store makes by itself; options are said only where they are not as usual."""
    options = sparse.to_config()
    if options.pop("language", None) == NO_LANGUAGE:
        options |= {"stemmer": {"type": "none"}, "stopwords": {"languages": [], "custom": []}}
    elif sparse.language is not None:
        options["language"] = sparse.language
    return {"text": text, "model": BM25_MODEL, **({"options": options} if options else {})}


def to_json(value: object) -> bytes:
    """A body; numpy arrays become lists."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:
        # names of files that are not UTF-8 hold surrogates, which JSON cannot
        return orjson.dumps(_clean(value), option=orjson.OPT_SERIALIZE_NUMPY)


def _clean(value: object) -> object:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {key: _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    return value


def clean_text(text: str) -> str:
    """Without surrogates; in questions as in points, so that filters find what was stored."""
    return text.encode("utf-8", "replace").decode()


def pack_vector(vector: Vectors) -> str:
    """A vector as base64 of little-endian float32."""
    return binascii.b2a_base64(vector.astype("<f4", copy=False).tobytes(), newline=False).decode()


def unpack_vector(value: object) -> object:
    """The other way round; anything that is not text stays as it is."""
    return np.frombuffer(binascii.a2b_base64(value), dtype="<f4") if isinstance(value, str) else value


def write_rows(points: PointBatch, part: slice, *, packed: bool) -> list[dict[str, Any]]:
    """Some points as an upsert has them; ``packed`` vectors are for servers that take base64."""
    vectors = np.ascontiguousarray(points.vectors[part], dtype=np.float32)
    words = write_words("", points.sparse)
    dense: Iterable[object] = map(pack_vector, vectors) if packed else vectors
    return [
        {
            "id": str(point_id),  # the database driver has a UUID class of its own
            "vector": {DENSE: vector, SPARSE: {**words, "text": text}},
            "payload": payload,
        }
        for point_id, vector, text, payload in zip(
            points.ids[part], dense, points.texts[part], points.payloads[part], strict=True
        )
    ]


def write_id(point: PointId) -> str | int:
    """A point id as JSON."""
    return point if isinstance(point, int) else str(point)


def read_page(content: bytes, dimension: int) -> tuple[StoredPoints, str | int | None]:
    """The answer of a scroll: its points, and where the next page begins."""
    result = orjson.loads(content)["result"]
    return _read_records(result["points"], dimension), result["next_page_offset"]


def read_points(content: bytes, dimension: int) -> StoredPoints:
    """The answer of a retrieval."""
    return _read_records(orjson.loads(content)["result"], dimension)


def _read_records(records: Sequence[dict[str, Any]], dimension: int) -> StoredPoints:
    dense = [unpack_vector((record.get("vector") or {}).get(DENSE)) for record in records]
    try:
        vectors = np.array(dense, dtype=np.float32).reshape(len(records), dimension)
    except (TypeError, ValueError):  # not all of them are what they should be
        vectors = np.stack([_read_vector(vector, dimension) for vector in dense])
    return StoredPoints(
        ids=[record["id"] if isinstance(record["id"], int) else UUID(record["id"]) for record in records],
        vectors=vectors,
        payloads=[record.get("payload") or {} for record in records],
    )


def _read_vector(value: object, dimension: int) -> Vectors:
    try:
        vector = np.array(value, dtype=np.float32)
    except (TypeError, ValueError):
        vector = np.empty(0, dtype=np.float32)
    return vector if vector.shape == (dimension,) else np.full(dimension, np.nan, dtype=np.float32)


def read_hits(content: bytes) -> list[ScoredPoint]:
    """The answer of a query, without points that somebody else has put there: every point of ours has a document."""
    hits = [_read_hit(found) for found in orjson.loads(content)["result"]["points"]]
    return [hit for hit in hits if hit is not None]


def _read_hit(found: dict[str, Any]) -> ScoredPoint | None:
    point, score, document = found["id"], float(found["score"]), (found.get("payload") or {}).get("document_id")
    try:
        return ScoredPoint(id=UUID(point), score=score, document_id=UUID(document))
    except (ValueError, AttributeError, TypeError):
        return None
