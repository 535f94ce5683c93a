"""Points as a Parquet file, which embedding-atlas opens as it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.projection.categories import OTHER_NAME
from app.projection.density import NOISE
from app.projection.points import Points, read_ids
from app.projection.previews import Previews

ROWS_AT_ONCE = 16_384
LONGEST_TEXT = 400
NEIGHBOURS = pa.struct([("ids", pa.list_(pa.int64())), ("distances", pa.list_(pa.float32()))])
"""Rows from 0, and cosine distances."""


def write_parquet(path: Path, points: Points, previews: Previews) -> None:
    """Write all points, a block of rows at a time.

    ``projection_x``, ``projection_y``, ``text``, ``neighbors`` and ``__row_index__`` are what embedding-atlas looks
    for; ``neighbors`` is left out if neighbours are not known.
    """
    schema = _describe_columns(points)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _read_batches(points, previews, schema):
            writer.write_batch(batch)


def _describe_columns(points: Points) -> pa.Schema:
    axes = "xyz"[: points.coordinates.shape[1]]
    named = pa.dictionary(pa.int16(), pa.string())
    columns = [
        ("id", pa.string()),
        *((axis, pa.float32()) for axis in axes),
        ("category", named),
        ("cluster", pa.int32()),
        ("cluster_label", named),
        ("document_id", pa.string()),
        ("preview", pa.string()),
        ("title", pa.string()),
        ("uri", pa.string()),
        ("placed", pa.bool_()),
        *((f"projection_{axis}", pa.float32()) for axis in axes),
        ("text", pa.string()),
        ("__row_index__", pa.int64()),
    ]
    if (points.folder / "similarities.npy").is_file():
        columns.append(("neighbors", NEIGHBOURS))
    return pa.schema(columns)


def _read_batches(points: Points, previews: Previews, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    categories = _Named([*points.categories.names], OTHER_NAME)
    labels = {one["id"]: one["label"] for one in points.described if one["level"] == 1}
    clusters = _Named([labels.get(one, "") for one in range(max(labels, default=NOISE) + 1)], "")
    for start in range(0, len(points), ROWS_AT_ONCE):
        end = min(start + ROWS_AT_ONCE, len(points))
        found = [previews.read(row, LONGEST_TEXT) for row in range(start, end)]
        texts = pa.array([one.preview for one in found], pa.string())
        columns: dict[str, Any] = {
            "id": pa.array(read_ids(points.folder / "ids.bin", start, end), pa.string()),
            "category": categories.name(points.categories.of[start:end].astype(np.int32)),
            "cluster": pa.array(points.clusters[start:end], pa.int32()),
            "cluster_label": clusters.name(points.clusters[start:end]),
            "document_id": pa.array(read_ids(points.folder / "documents.bin", start, end), pa.string()),
            "preview": texts,
            "title": pa.array([one.title for one in found], pa.string()),
            "uri": pa.array([one.uri for one in found], pa.string()),
            "placed": pa.array(points.placed[start:end].astype(bool), pa.bool_()),
            "text": texts,
            "__row_index__": pa.array(np.arange(start, end), pa.int64()),
        }
        for number, axis in enumerate("xyz"[: points.coordinates.shape[1]]):
            columns[axis] = columns[f"projection_{axis}"] = pa.array(
                points.coordinates[start:end, number], pa.float32()
            )
        if "neighbors" in schema.names:
            columns["neighbors"] = _read_neighbours(points.folder, start, end)
        yield pa.record_batch([columns[name] for name in schema.names], schema=schema)


class _Named:
    """Names of numbers; what has none has the last name."""

    def __init__(self, names: list[str], last: str) -> None:
        self._names = pa.array([*names, last], pa.string())

    def name(self, numbers: NDArray[np.int32]) -> pa.DictionaryArray:
        last = len(self._names) - 1
        places = np.where((numbers >= 0) & (numbers < last), numbers, last).astype(np.int16)
        return pa.DictionaryArray.from_arrays(pa.array(places), self._names)


def _read_neighbours(folder: Path, start: int, end: int) -> pa.StructArray:
    neighbours = np.load(folder / "neighbours.npy", mmap_mode="r")[start:end]
    distances = 1 - np.load(folder / "similarities.npy", mmap_mode="r")[start:end]
    known = np.isfinite(distances)
    ends = np.concatenate([[0], np.cumsum(known.sum(axis=1))]).astype(np.int32)
    ids = pa.ListArray.from_arrays(pa.array(ends), pa.array(neighbours[known].astype(np.int64)))
    return pa.StructArray.from_arrays(
        [ids, pa.ListArray.from_arrays(pa.array(ends), pa.array(distances[known]))], fields=list(NEIGHBOURS)
    )
