"""A map as one HTML file that needs nothing else: it can be mailed, and opened without a network."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.projection.colours import write_colour
from app.projection.points import Points
from app.projection.previews import Previews

MOST_POINTS = 50_000
"""Of a larger map a uniform sample is shown, and the page says so."""
TEXT_BYTES = 10_000_000
"""Of all previews together, about."""
LONGEST_PREVIEW = 240
LONGEST_TITLE = 160
WEB = Path(__file__).parent / "web"
STEPS = 65_535
SLOT = re.compile(r"\{\{(\w+)\}\}")
ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""In the data: whatever a text holds, no browser sees the end of a script or a comment in it."""


def write_page(path: Path, points: Points, previews: Previews, *, title: str, colour_by: str, facts: str) -> None:
    """Write the page.

    Texts of documents are data that a script, which the page's policy knows by its hash, puts into text nodes. No
    other script runs, and nothing is loaded.
    """
    data = _describe(points, previews, colour_by=colour_by, facts=facts)
    script, style = _read_web("map.js"), _read_web("map.css")
    slots = {
        "title": escape(title),
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "data": write_data(data),
    }
    path.write_text(SLOT.sub(lambda slot: slots[slot.group(1)], _read_web("map.html")), encoding="utf-8")


def write_data(data: Mapping[str, Any]) -> str:
    """As JSON that can stand inside a page."""
    written = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029]", lambda found: ESCAPED[found.group()], written)


def choose_rows(points: Points) -> NDArray[np.int64]:
    """Points with a place, or as many of them as a page holds, drawn uniformly."""
    rows = np.flatnonzero(points.finite)
    if len(rows) <= MOST_POINTS:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, MOST_POINTS, replace=False))


def _describe(points: Points, previews: Previews, *, colour_by: str, facts: str) -> dict[str, Any]:
    rows = choose_rows(points)
    dimensions = points.coordinates.shape[1]
    middle, half = _find_frame(points.coordinates[rows])
    placed = (points.coordinates[rows] - middle) / half
    documents, of, texts = _read_texts(rows, previews)
    if len(rows) < len(points):
        facts += f" · {len(rows):,} of them shown"
    return {
        "shown": len(rows),
        "dimensions": dimensions,
        "colourBy": colour_by,
        "facts": facts,
        "categories": [
            {"index": index, "name": name, "count": count, "colour": write_colour(colour)}
            for index, name, count, colour in points.categories.count()
        ],
        "clusters": [_describe_cluster(one, middle, half) for one in points.described],
        "axes": [_pack(np.rint((placed[:, axis] + 1) / 2 * STEPS).astype("<u2")) for axis in range(dimensions)],
        "category": _pack(points.categories.of[rows]),
        "placed": _pack(points.placed[rows]),
        "documents": documents,
        "document": _pack(np.array(of, dtype="<u4")),
        "previews": texts,
    }


def _find_frame(coordinates: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Middle of the map, and what reaches from there to the end of its longer side."""
    if not len(coordinates):
        return np.zeros(coordinates.shape[1]), 1.0
    low, high = coordinates.min(axis=0).astype(np.float64), coordinates.max(axis=0).astype(np.float64)
    return (low + high) / 2, float((high - low).max()) / 2 or 1.0


def _describe_cluster(cluster: Mapping[str, Any], middle: NDArray[np.float64], half: float) -> dict[str, Any]:
    axes = [axis for axis in "xyz" if axis in cluster]
    places = {axis: round((cluster[axis] - middle[n]) / half, 4) for n, axis in enumerate(axes)}
    return {"level": cluster["level"], "size": cluster["size"], "lines": split_label(cluster["label"]), **places}


def split_label(label: str) -> list[str]:
    """The first term, and the others below it."""
    first, _, others = label.partition(", ")
    return [line for line in (first, others) if line]


def _read_texts(rows: NDArray[np.int64], previews: Previews) -> tuple[list[tuple[str, str]], list[int], list[str]]:
    """Title and address of each document once, the document of each point, and the previews."""
    longest = min(LONGEST_PREVIEW, max(40, TEXT_BYTES // max(len(rows), 1)))
    documents: dict[tuple[str, str], int] = {}
    of, texts = [], []
    for row in rows.tolist():
        found = previews.read(row, LONGEST_PREVIEW)
        document = (found.title[:LONGEST_TITLE], found.uri)
        of.append(documents.setdefault(document, len(documents)))
        texts.append(found.preview[:longest])
    return list(documents), of, texts


def _pack(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _read_web(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")
