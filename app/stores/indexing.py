"""Settings of an index as qdrant-client takes and gives them."""

from qdrant_client import models

from app.domain.index_settings import IndexSettings, Quantization

SCALAR = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True))
BINARY = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
"""Always in memory: they are small, and vectors on disk are only worth it if these need not be read from there."""


def write_params(dimension: int, index: IndexSettings) -> models.VectorParams:
    """The dense vectors of a new collection."""
    return models.VectorParams(
        size=dimension,
        distance=models.Distance.COSINE,
        hnsw_config=_write_graph(index),
        quantization_config=_write_quantization(index.quantization),
        on_disk=index.vectors_on_disk,
    )


def write_changes(index: IndexSettings, stored: IndexSettings) -> list[models.VectorParamsDiff]:
    """What makes dense vectors that are as ``stored`` says as ``index`` says, in this order."""
    graph = _write_graph(index)
    change = models.VectorParamsDiff(
        hnsw_config=graph,
        quantization_config=_write_quantization(index.quantization) or models.Disabled.DISABLED,
        on_disk=index.vectors_on_disk,
    )
    old = _write_graph(stored)
    if old is None or (graph is not None and old.model_fields_set <= graph.model_fields_set):
        return [change]
    # Qdrant adds what is said to what was said before; an empty object makes it forget that
    return [models.VectorParamsDiff(hnsw_config=models.HnswConfigDiff()), change]


def _write_graph(index: IndexSettings) -> models.HnswConfigDiff | None:
    said = {"m": index.hnsw_m, "ef_construct": index.ef_construct, "on_disk": index.hnsw_on_disk}
    given = {name: value for name, value in said.items() if value is not None}
    return models.HnswConfigDiff.model_validate(given) if given else None


def _write_quantization(kind: Quantization) -> models.ScalarQuantization | models.BinaryQuantization | None:
    if kind is Quantization.SCALAR:
        return SCALAR
    return BINARY if kind is Quantization.BINARY else None


def read_index(params: models.CollectionParams, dense: models.VectorParams | None) -> IndexSettings:
    """The settings of a collection; what it was not told is None, also where the store names its own value."""
    graph = (dense.hnsw_config if dense is not None else None) or models.HnswConfigDiff()
    return IndexSettings(
        hnsw_m=graph.m,
        ef_construct=graph.ef_construct,
        hnsw_on_disk=graph.on_disk,
        quantization=_read_quantization(dense.quantization_config if dense is not None else None),
        vectors_on_disk=dense.on_disk if dense is not None else None,
        payload_on_disk=params.on_disk_payload,
    )


def _read_quantization(config: models.QuantizationConfig | None) -> Quantization:
    if config is None:
        return Quantization.NONE
    if isinstance(config, models.ScalarQuantization):
        return Quantization.SCALAR
    return Quantization.BINARY if isinstance(config, models.BinaryQuantization) else Quantization.OTHER
