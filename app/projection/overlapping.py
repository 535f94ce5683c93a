"""Where chunks would lie on a map of other chunks of the same documents."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.projection.points_file import DOCUMENTS, read_ids

SPANS = "spans.i32"
UNKNOWN = -1
LONGEST = 2**32
"""More characters than a text may have, so that one number says where of which document something is."""

Spans = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class CutDocuments:
    """Of each row, which document it is of and which of its characters it has.

    Attributes:
        documents: ids as 16 bytes, shape ``(n,)``.
        spans: start and end, shape ``(n, 2)``; ``UNKNOWN`` where nobody knows.
    """

    documents: NDArray[Any]
    spans: Spans


def read_cut(folder: Path) -> CutDocuments:
    """Those of a projection.

    Raises:
        FileNotFoundError: if it was made before spans were kept.
        ValueError: if its files do not fit each other.
    """
    documents, spans = read_ids(folder / DOCUMENTS), np.fromfile(folder / SPANS, dtype="<i4").reshape(-1, 2)
    if len(documents) != len(spans):
        raise ValueError(f"{folder.name} has {len(documents)} documents of rows and {len(spans)} spans")
    return CutDocuments(documents=documents, spans=spans)


def place_over(old: CutDocuments, places: Floats, new: CutDocuments) -> Floats:
    """The mean place of the old chunks that have characters of a new one, each as heavy as it has many.

    Args:
        old: chunks of the map, shape ``(n,)``.
        places: of those, shape ``(n, dimensions)``.
        new: chunks that are looked for, shape ``(m,)``.

    Returns:
        float32 of shape ``(m, dimensions)``; NaN where no old chunk has any.
    """
    codes = np.unique(np.concatenate([old.documents, new.documents]), return_inverse=True)[1].astype(np.int64)
    old_keys, new_keys = codes[: len(old.documents), None] * LONGEST, codes[len(old.documents) :, None] * LONGEST
    usable = (old.spans[:, 0] > UNKNOWN) & np.isfinite(places).all(axis=1)
    begins, ends = (old_keys[usable] + old.spans[usable]).T
    order = np.argsort(begins, kind="stable")
    # chunks that begin later seldom end sooner; where they do, too many are looked at, and have no weight
    begins, ends, reach = begins[order], ends[order], np.maximum.accumulate(ends[order])
    wanted = np.flatnonzero(new.spans[:, 0] > UNKNOWN)
    starts, stops = (new_keys[wanted] + new.spans[wanted]).T
    first, last = np.searchsorted(reach, starts, side="right"), np.searchsorted(begins, stops, side="left")
    counts = np.maximum(last - first, 0)
    which = np.repeat(np.arange(len(wanted)), counts)
    pairs = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts) + first[which]
    weights = np.maximum(np.minimum(stops[which], ends[pairs]) - np.maximum(starts[which], begins[pairs]), 0)
    totals = np.bincount(which, weights=weights, minlength=len(wanted))
    found = np.full((len(new.documents), places.shape[1]), np.nan, dtype=np.float32)
    near, known = places[usable][order][pairs].astype(np.float64), totals > 0
    for axis in range(places.shape[1]):
        sums = np.bincount(which, weights=weights * near[:, axis], minlength=len(wanted))
        found[wanted[known], axis] = sums[known] / totals[known]
    return found
