"""Queries and filters as qdrant-client takes them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from app.domain.errors import VectorStoreRejectedError
from app.domain.points import Fusion, PointQuery, SearchFilter, SearchMode
from app.stores.records import DENSE, SPARSE, clean_text, write_words


def ask(query: PointQuery) -> dict[str, Any]:
    """A query as arguments of ``query_points``, the limit aside."""
    restrict = read_filter(query.filter)
    if query.mode is not SearchMode.HYBRID:
        using, nearest = _nearest(query, query.mode)
        params = _write_params(query, query.mode)
        return {
            "query": nearest,
            "using": using,
            "query_filter": restrict,
            "search_params": params,
            "score_threshold": query.score_threshold,
        }
    weights = {SearchMode.DENSE: query.dense_weight, SearchMode.BM25: query.bm25_weight}
    weighed = {mode: weight for mode, weight in weights.items() if weight > 0}
    return {
        "prefetch": [_prefetch(query, mode, restrict) for mode in weighed],
        "query": _fuse(query, list(weighed.values())),
        "score_threshold": query.score_threshold,
    }


def _fuse(query: PointQuery, weights: Sequence[float]) -> models.FusionQuery | models.RrfQuery:
    if query.fusion is Fusion.DBSF:
        return models.FusionQuery(fusion=models.Fusion.DBSF)
    # equal ones are not told: servers before 1.17 know no weights
    is_equal = len(set(weights)) == 1
    scaled = None if is_equal else [weight * len(weights) / sum(weights) for weight in weights]
    return models.RrfQuery(rrf=models.Rrf(k=query.fusion_k, weights=scaled))


def _prefetch(query: PointQuery, mode: SearchMode, restrict: models.Filter | None) -> models.Prefetch:
    using, nearest = _nearest(query, mode)
    params = _write_params(query, mode)
    return models.Prefetch(query=nearest, using=using, limit=query.prefetch, filter=restrict, params=params)


def _write_params(query: PointQuery, mode: SearchMode) -> models.SearchParams:
    if mode is SearchMode.BM25 or query.exact:
        return models.SearchParams(exact=query.exact)
    rescored = None
    if query.oversampling is not None:
        rescored = models.QuantizationSearchParams(rescore=True, oversampling=query.oversampling)
    return models.SearchParams(exact=False, hnsw_ef=query.hnsw_ef, quantization=rescored)


def _nearest(query: PointQuery, mode: SearchMode) -> tuple[str, models.NearestQuery]:
    if mode is SearchMode.BM25:
        if query.text is None:
            raise ValueError("a bm25 query needs a text")
        words = models.Document.model_validate(write_words(clean_text(query.text), query.sparse))
        return SPARSE, models.NearestQuery(nearest=words)
    if query.vector is None:
        raise ValueError("a dense query needs a vector")
    if not np.isfinite(query.vector).all():
        raise VectorStoreRejectedError("the vector of a query must be finite")
    return DENSE, models.NearestQuery(nearest=query.vector.tolist())


def any_of(field: str, values: Iterable[str]) -> models.FieldCondition:
    """The field is one of these."""
    return models.FieldCondition(key=field, match=models.MatchAny(any=[clean_text(value) for value in values]))


def read_filter(restrict: SearchFilter) -> models.Filter | None:
    """A filter as Qdrant takes it; None if everything fits."""
    fields = {
        "source_id": [str(value) for value in restrict.source_ids],
        "document_id": [str(value) for value in restrict.document_ids],
        "folders": [value.strip("/") for value in restrict.folders],
        "file_type": [value.lower().lstrip(".") for value in restrict.file_types],
    }
    conditions: list[models.Condition] = [any_of(field, values) for field, values in fields.items() if values]
    return models.Filter(must=conditions) if conditions else None
