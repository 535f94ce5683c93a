"""Bodies of queries, as the client's own models read them."""

from itertools import product
from uuid import UUID

import numpy as np
import pytest
from qdrant_client import models

from app.domain.points import Fusion, PointQuery, SearchFilter, SearchMode
from app.domain.sparse_settings import SparseSettings
from app.stores.questions import write_query

FILTERS = (SearchFilter(), SearchFilter(source_ids=(UUID(int=1),), folders=("/guides/",), file_types=(".MD",)))
WEIGHTS = ((1.0, 1.0), (3.0, 1.0), (0.0, 1.0))


@pytest.mark.parametrize("mode", SearchMode)
@pytest.mark.parametrize("fusion", Fusion)
def test_a_query_is_what_qdrant_takes(mode: SearchMode, fusion: Fusion) -> None:
    """Every field is one that the client's models know, with a value that they let through unchanged."""
    for restrict, (dense, bm25), exact, ef in product(FILTERS, WEIGHTS, (False, True), (None, 64)):
        query = PointQuery(
            mode=mode,
            text="whales in the ocean",
            vector=np.array([0.5, -0.25, 1.0], dtype=np.float32),
            fusion=fusion,
            dense_weight=dense,
            bm25_weight=bm25,
            score_threshold=0.25,
            exact=exact,
            hnsw_ef=ef,
            oversampling=None if ef is None else 2.0,
            filter=restrict,
            sparse=SparseSettings(language="german"),
        )
        body = write_query(query, packed=False)
        read = models.QueryRequest.model_validate(body)
        assert read.model_dump(exclude_unset=True, mode="json") == body
