"""Reads Qdrant's REST bodies into the engine's own requests, and writes its answers back."""

import math
from typing import Any
from uuid import UUID

import qdrant_edge as edge


class BadRequestError(Exception):
    """The body asks for something this server does not do; the text says what."""


PointId = int | str | UUID
BM25_MODEL = "qdrant/bm25"
BM25 = edge.Bm25()


def read_vector(value: Any) -> Any:
    """A dense list, a sparse ``{indices, values}`` or a BM25 document ``{text, model}``."""
    if isinstance(value, list):
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in value):
            raise BadRequestError("Wrong input: a vector must be a list of finite numbers")
        return value
    if isinstance(value, dict) and "indices" in value:
        return edge.SparseVector(value["indices"], value["values"])
    if isinstance(value, dict) and value.get("model") == BM25_MODEL:
        return BM25.embed_document(value["text"])
    raise BadRequestError("Wrong input: not a vector this server understands")


def read_point(value: dict[str, Any]) -> edge.Point:
    """A point with named vectors."""
    vectors = value.get("vector")
    if not isinstance(vectors, dict):
        raise BadRequestError("Wrong input: vectors must be named")
    named = {name: read_vector(vector) for name, vector in vectors.items()}
    return edge.Point(read_id(value["id"]), named, value.get("payload") or {})


def read_id(value: Any) -> PointId:
    """A point id: an unsigned integer or a UUID."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return str(UUID(value))
    except (ValueError, TypeError, AttributeError) as error:
        raise BadRequestError("Wrong input: a point id is an unsigned integer or a UUID") from error


def write_id(value: PointId) -> int | str:
    """A point id as JSON."""
    return value if isinstance(value, int) else str(value)


def read_filter(value: dict[str, Any] | None) -> edge.Filter | None:
    """``must``, ``must_not``, ``should`` of match and has_id conditions, nested filters included."""
    if not value:
        return None
    clauses: dict[str, Any] = {}
    for name in ("must", "must_not", "should"):
        conditions = value.get(name)
        if conditions:
            conditions = conditions if isinstance(conditions, list) else [conditions]
            clauses[name] = [_read_condition(condition) for condition in conditions]
    return edge.Filter(**clauses)


def _read_condition(value: dict[str, Any]) -> Any:
    if "has_id" in value:
        return edge.HasIdCondition({read_id(point) for point in value["has_id"]})
    match = value.get("match") or {}
    if "any" in match:
        return edge.FieldCondition(value["key"], match=edge.MatchAny(match["any"]))
    if "value" in match:
        return edge.FieldCondition(value["key"], match=edge.MatchValue(match["value"]))
    if {"must", "must_not", "should"} & value.keys():
        return read_filter(value)
    raise BadRequestError("Wrong input: this server filters by match value, match any and has_id only")


def read_query(value: Any, using: str | None) -> Any:
    """A nearest query (dense, sparse or BM25 text), or a fusion over prefetches."""
    if value is None:
        return None
    if isinstance(value, dict) and "nearest" in value:
        value = value["nearest"]
    if isinstance(value, dict) and "rrf" in value:
        return edge.Fusion.Rrf(k=(value["rrf"] or {}).get("k") or 2)
    if isinstance(value, dict) and value.get("fusion") == "rrf":
        return edge.Fusion.Rrf(k=2)
    if isinstance(value, dict) and value.get("model") == BM25_MODEL:
        return edge.Query.Nearest(BM25.embed_query(value["text"]), using=using)
    return edge.Query.Nearest(read_vector(value), using=using)


def _read_params(value: dict[str, Any] | None) -> edge.SearchParams:
    return edge.SearchParams(exact=bool((value or {}).get("exact", False)))


def _read_prefetch(value: dict[str, Any]) -> edge.Prefetch:
    return edge.Prefetch(
        limit=value.get("limit") or 10,
        query=read_query(value.get("query"), value.get("using")),
        prefetches=[_read_prefetch(inner) for inner in _as_list(value.get("prefetch"))],
        params=_read_params(value.get("params")),
        filter=read_filter(value.get("filter")),
        score_threshold=value.get("score_threshold"),
    )


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def read_query_request(body: dict[str, Any]) -> edge.QueryRequest:
    """The body of ``points/query``."""
    return edge.QueryRequest(
        limit=body.get("limit") or 10,
        offset=body.get("offset"),
        query=read_query(body.get("query"), body.get("using")),
        prefetches=[_read_prefetch(value) for value in _as_list(body.get("prefetch"))],
        with_vector=body.get("with_vector", False),
        with_payload=body.get("with_payload", False),
        filter=read_filter(body.get("filter")),
        score_threshold=body.get("score_threshold"),
        params=_read_params(body.get("params")),
    )


def read_scroll(body: dict[str, Any]) -> edge.ScrollRequest:
    """The body of ``points/scroll``."""
    offset = body.get("offset")
    return edge.ScrollRequest(
        offset=None if offset is None else read_id(offset),
        limit=body.get("limit") or 10,
        filter=read_filter(body.get("filter")),
        with_payload=body.get("with_payload", True),
        with_vector=body.get("with_vector", False),
    )


def _write_vector(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _write_vector(inner) for name, inner in value.items()}
    if isinstance(value, edge.SparseVector):
        return {"indices": value.indices, "values": value.values}
    return value


def write_record(record: Any) -> dict[str, Any]:
    """A retrieved point."""
    return {"id": write_id(record.id), "payload": record.payload, "vector": _write_vector(record.vector)}


def write_scored(point: Any) -> dict[str, Any]:
    """A scored point."""
    return {**write_record(point), "version": point.version, "score": point.score}
