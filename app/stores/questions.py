"""Queries and filters as Qdrant's REST API takes them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from app.domain.errors import VectorStoreRejectedError
from app.domain.points import Fusion, PointQuery, SearchFilter, SearchMode
from app.stores.records import DENSE, SPARSE, clean_text, pack_vector, write_words

Json = dict[str, Any]


def write_query(query: PointQuery, *, packed: bool) -> Json:
    """The body of ``points/query``; a ``packed`` vector is for servers that take base64."""
    body: Json = {"limit": query.limit, "with_payload": ["document_id"]}
    if query.score_threshold is not None:
        body["score_threshold"] = query.score_threshold
    if query.mode is not SearchMode.HYBRID:
        return body | _write_stage(query, query.mode, packed=packed)
    weights = {SearchMode.DENSE: query.dense_weight, SearchMode.BM25: query.bm25_weight}
    weighed = {mode: weight for mode, weight in weights.items() if weight > 0}
    stages = [{"limit": query.prefetch, **_write_stage(query, mode, packed=packed)} for mode in weighed]
    return body | {"prefetch": stages, "query": _fuse(query, list(weighed.values()))}


def _fuse(query: PointQuery, weights: Sequence[float]) -> Json:
    if query.fusion is Fusion.DBSF:
        return {"fusion": "dbsf"}
    rrf: Json = {"k": query.fusion_k}
    if len(set(weights)) > 1:  # equal ones are not told: servers before 1.17 know no weights
        rrf["weights"] = [weight * len(weights) / sum(weights) for weight in weights]
    return {"rrf": rrf}


def _write_stage(query: PointQuery, mode: SearchMode, *, packed: bool) -> Json:
    using, nearest = _nearest(query, mode, packed=packed)
    stage: Json = {"query": {"nearest": nearest}, "using": using, "params": _write_params(query, mode)}
    if restrict := write_filter(query.filter):
        stage["filter"] = restrict
    return stage


def _write_params(query: PointQuery, mode: SearchMode) -> Json:
    params: Json = {"exact": query.exact}
    if mode is SearchMode.BM25 or query.exact:
        return params
    if query.hnsw_ef is not None:
        params["hnsw_ef"] = query.hnsw_ef
    if query.oversampling is not None:
        params["quantization"] = {"rescore": True, "oversampling": query.oversampling}
    return params


def _nearest(query: PointQuery, mode: SearchMode, *, packed: bool) -> tuple[str, object]:
    if mode is SearchMode.BM25:
        if query.text is None:
            raise ValueError("a bm25 query needs a text")
        return SPARSE, write_words(clean_text(query.text), query.sparse)
    if query.vector is None:
        raise ValueError("a dense query needs a vector")
    if not np.isfinite(query.vector).all():
        raise VectorStoreRejectedError("the vector of a query must be finite")
    return DENSE, pack_vector(query.vector) if packed else query.vector.tolist()


def any_of(field: str, values: Iterable[str]) -> models.FieldCondition:
    """The field is one of these."""
    return models.FieldCondition.model_validate(_write_condition(field, values))


def _write_condition(field: str, values: Iterable[str]) -> Json:
    return {"key": field, "match": {"any": [clean_text(value) for value in values]}}


def write_filter(restrict: SearchFilter) -> Json | None:
    """A filter as Qdrant takes it; None if everything fits."""
    fields = {
        "source_id": [str(value) for value in restrict.source_ids],
        "document_id": [str(value) for value in restrict.document_ids],
        "folders": [value.strip("/") for value in restrict.folders],
        "file_type": [value.lower().lstrip(".") for value in restrict.file_types],
    }
    conditions = [_write_condition(field, values) for field, values in fields.items() if values]
    return {"must": conditions} if conditions else None


def read_filter(restrict: SearchFilter) -> models.Filter | None:
    """The same as qdrant-client takes it."""
    written = write_filter(restrict)
    return None if written is None else models.Filter.model_validate(written)
