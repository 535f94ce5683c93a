"""The files of a projection that others read: Parquet, raw arrays, levels, a page, a picture, a description of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.projection.arrays import choose_levels, write_arrays
from app.projection.categories import read_categories
from app.projection.colours import write_colour
from app.projection.files import written
from app.projection.page import write_page
from app.projection.parquet import write_parquet
from app.projection.picture import write_picture
from app.projection.points import Points, read_points
from app.projection.previews import Previews
from app.projection.texts import fit

VERSION = 1
LONGEST_TITLE = 200
TYPES = {"f32": "float32", "u8": "uint8", "u32": "uint32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRequest:
    """What files are made of.

    Attributes:
        folder: holds ``coordinates.npy``, and if known ``ids.bin``, ``documents.bin``, ``clusters.npy``,
            ``clusters.json``, ``placed.u8``, ``neighbours.npy``, ``similarities.npy``; the files go there too.
        title: of the page and the picture.
        colour_by: what the categories are, in words.
        categories: file ``{"names": […], "of": path of int32 (n,)}``; everything is *Other* without it.
        previews: file with one JSON line ``{"row", "preview", "document_id", "uri", "title"}`` for each point that
            texts are known of.
        meta: goes into ``meta.json`` as it is; of ``quality`` and ``degraded``, page and picture tell too.
    """

    folder: str
    title: str
    method: str
    dimensions: int
    colour_by: str
    categories: str | None = None
    previews: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


def write_artifacts(request: ArtifactRequest) -> dict[str, int]:
    """Write all files, each as a whole or not at all.

    Returns:
        The size of each in bytes, by name.
    """
    folder = Path(request.folder)
    count = len(np.load(folder / "coordinates.npy", mmap_mode="r"))
    points = read_points(folder, read_categories(request.categories, count))
    names = write_arrays(points)
    words = {
        "title": fit(request.title, LONGEST_TITLE),
        "colour_by": request.colour_by,
        "facts": tell_facts(request, count),
    }
    with Previews(request.previews, count) as previews:
        with written(folder / "points.parquet") as path:
            write_parquet(path, points, previews)
        with written(folder / "map.html") as path:
            write_page(path, points, previews, **words)
    with written(folder / "map.png") as path:
        write_picture(path, points, **words)
    sizes = {name: (folder / name).stat().st_size for name in (*names, "points.parquet", "map.html", "map.png")}
    with written(folder / "meta.json") as path:
        path.write_text(json.dumps(_describe(request, points, sizes)), encoding="utf-8")
    return {**sizes, "meta.json": (folder / "meta.json").stat().st_size}


def tell_facts(request: ArtifactRequest, points: int) -> str:
    """How the map was made and how good it is, in one line."""
    facts = [request.method.upper() if request.method != "tsne" else "t-SNE", f"{points:,} points"]
    quality = request.meta.get("quality") or {}
    facts += [f"{name.replace('_', ' ')} {value:.3f}" for name, value in quality.items() if isinstance(value, float)]
    if request.meta.get("degraded"):
        facts.append(f"degraded: {request.meta['degraded']}".replace("_", " "))
    return " · ".join(facts)


def _describe(request: ArtifactRequest, points: Points, sizes: Mapping[str, int]) -> dict[str, Any]:
    finite = points.coordinates[points.finite]
    bounds = [
        {"axis": axis, "min": float(finite[:, number].min()), "max": float(finite[:, number].max())}
        for number, axis in enumerate("xyz"[: points.coordinates.shape[1]])
        if len(finite)
    ]
    return {
        **request.meta,
        "version": VERSION,
        "title": request.title,
        "method": request.method,
        "dimensions": request.dimensions,
        "points": len(points),
        "bounds": bounds,
        "colour_by": request.colour_by,
        "categories": [
            {"index": index, "name": name, "count": count, "colour": write_colour(colour)}
            for index, name, count, colour in points.categories.count()
        ],
        "clusters": points.described,
        "levels": choose_levels(len(points)),
        "byte_order": "little",
        "files": {
            name: {"bytes": size, **({"type": kind} if (kind := TYPES.get(name.rpartition(".")[2])) else {})}
            for name, size in sizes.items()
        },
    }
