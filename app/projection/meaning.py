"""What a map says: its clusters with their labels, and findings."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from app.projection.clusters import COARSE, FINE, Clusters, find_clusters, find_middles
from app.projection.density import NOISE, Integers, Terrain, find_finite, triangulate
from app.projection.findings import (
    Findings,
    find_empty_regions,
    find_near_duplicates,
    find_outliers,
    measure_similarities,
)
from app.projection.labels import choose_labels, count_terms, write_label

MOST_CLUSTERED = 200_000
"""Points that clusters are made of; the others belong to the cluster of the nearest of them."""
MOST_TEXTS = 12_000
"""That are read; each fine cluster has its share of them, at least ``LEAST_TEXTS`` and at most ten times as many."""
LEAST_TEXTS = 40
NEAR_DUPLICATE = 0.98
"""Cosine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeaningRequest:
    """What meaning is looked for in.

    Attributes:
        folder: holds ``coordinates.npy``, and if known ``placed.u8``, ``vectors.npy``, ``neighbours.npy``,
            ``documents.bin``; the results go there too.
        texts: file with one JSON line ``{"row", "text"}`` for each text that may be read.
        language: of the stop words; the languages are recognised without it.
        near_duplicate: the least cosine of two points that are told to be almost equal.
    """

    folder: str
    texts: str | None = None
    language: str | None = None
    near_duplicate: float = NEAR_DUPLICATE


@dataclass(frozen=True, slots=True, kw_only=True)
class MeaningAnswer:
    """What was found; all of it stands in ``clusters.npy``, ``clusters.json``, ``findings.json`` too."""

    points: int
    clusters: int
    coarse_clusters: int
    noise: int
    findings: dict[str, Any]


def find_meaning(request: MeaningRequest) -> MeaningAnswer:
    """Find clusters of both levels, label them, and look for findings.

    Writes ``clusters.npy`` (int32 (n,), the fine cluster of each point, -1 for none), ``clusters.json`` (coarse
    clusters, level 0, and fine ones, level 1, each with the ``parent`` it is part of; ids of fine ones are those of
    ``clusters.npy``, those of coarse ones follow), ``findings.json``, and with vectors ``similarities.npy``
    (float32 (n, k), cosines of points and neighbours).
    """
    folder = Path(request.folder)
    coordinates: NDArray[np.float32] = np.load(folder / "coordinates.npy", mmap_mode="r")
    usable = _find_usable(folder, coordinates)
    rows = _choose_rows(folder, usable)
    terrain = triangulate(coordinates[rows])
    clusters = _spread(_cluster(terrain), rows, coordinates, usable)
    described = _describe(coordinates, clusters, *_label(request, clusters))
    np.save(folder / "clusters.npy", clusters.fine)
    (folder / "clusters.json").write_text(json.dumps(described), encoding="utf-8")
    findings = _find(request, terrain, rows).to_dict()
    (folder / "findings.json").write_text(json.dumps(findings), encoding="utf-8")
    return MeaningAnswer(
        points=len(coordinates),
        clusters=len(clusters.parents),
        coarse_clusters=int(clusters.parents.max(initial=NOISE)) + 1,
        noise=int((clusters.fine == NOISE).sum()),
        findings=findings,
    )


def _find_usable(folder: Path, coordinates: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Points that lie where they do for a reason: one without any neighbour has a vector that is no numbers."""
    usable = find_finite(coordinates)
    if (folder / "neighbours.npy").is_file():
        usable &= (np.load(folder / "neighbours.npy", mmap_mode="r") >= 0).any(axis=1)
    return usable


def _choose_rows(folder: Path, usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows that clusters are made of: laid out rather than placed, and not too many."""
    if (folder / "placed.u8").is_file():
        laid_out = usable & (np.fromfile(folder / "placed.u8", dtype=np.uint8)[: len(usable)] == 0)
        usable = laid_out if laid_out.any() else usable
    rows = np.flatnonzero(usable)
    if len(rows) <= MOST_CLUSTERED:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, MOST_CLUSTERED, replace=False))


def _cluster(terrain: Terrain | None) -> Clusters | None:
    return None if terrain is None else find_clusters(terrain)


def _spread(
    found: Clusters | None, rows: NDArray[np.int64], coordinates: NDArray[np.float32], usable: NDArray[np.bool_]
) -> Clusters:
    """Clusters of all points from those of some rows."""
    fine: Integers = np.full(len(coordinates), NOISE, dtype=np.int32)
    if found is None:
        return Clusters(fine=fine, parents=np.empty(0, dtype=np.int32))
    fine[rows] = found.fine
    others = usable.copy()
    others[rows] = False
    if others.any():
        _, nearest = cKDTree(coordinates[rows]).query(coordinates[others])
        fine[others] = found.fine[nearest]
    return Clusters(fine=fine, parents=found.parents)


def _label(request: MeaningRequest, clusters: Clusters) -> tuple[list[list[str]], list[list[str]]]:
    """Terms of coarse and of fine clusters."""
    texts = read_texts(Path(request.texts), clusters.fine) if request.texts is not None else iter(())
    counts = count_terms(texts, request.language)
    coarse = choose_labels(counts.merge(clusters.parents.tolist()), int(clusters.parents.max(initial=NOISE)) + 1)
    return coarse, choose_labels(counts, len(clusters.parents))


def read_texts(path: Path, clusters: Integers) -> Iterator[tuple[int, str]]:
    """Some texts of each cluster, with the cluster; noise has no label and is left out."""
    read: Counter[int] = Counter()
    share = MOST_TEXTS // max(int(clusters.max(initial=NOISE)) + 1, 1)
    most = min(max(share, LEAST_TEXTS), 10 * LEAST_TEXTS)
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            found = json.loads(line)
            row = found["row"]
            cluster = int(clusters[row]) if 0 <= row < len(clusters) else NOISE
            if cluster != NOISE and read[cluster] < most:
                read[cluster] += 1
                yield cluster, found["text"]


def _describe(
    coordinates: NDArray[np.float32], clusters: Clusters, coarse: list[list[str]], fine: list[list[str]]
) -> list[dict[str, Any]]:
    """Clusters as JSON has them, coarse ones first."""
    first_coarse = len(clusters.parents)
    described = []
    for level, labels, terms, offset in (
        (COARSE, clusters.coarse, coarse, first_coarse),
        (FINE, clusters.fine, fine, 0),
    ):
        for label, size, middle in find_middles(coordinates, labels):
            described.append(
                {
                    "id": offset + label,
                    "level": level,
                    "parent": int(first_coarse + clusters.parents[label]) if level == FINE else None,
                    "size": size,
                    **dict(zip("xyz", (round(float(value), 5) for value in middle), strict=False)),
                    "label": write_label(terms[label]),
                    "terms": terms[label],
                }
            )
    return described


def _find(request: MeaningRequest, terrain: Terrain | None, rows: NDArray[np.int64]) -> Findings:
    folder = Path(request.folder)
    regions = find_empty_regions(terrain) if terrain is not None else []
    for region in regions:
        region["rows"] = rows[region["rows"]].tolist()
    if not (folder / "vectors.npy").is_file() or not (folder / "neighbours.npy").is_file():
        return Findings(empty_regions=regions)
    neighbours: Integers = np.load(folder / "neighbours.npy", mmap_mode="r")
    similarities = measure_similarities(np.load(folder / "vectors.npy", mmap_mode="r"), neighbours)
    np.save(folder / "similarities.npy", similarities)
    outliers, first_outliers = find_outliers(similarities)
    documents = np.fromfile(folder / "documents.bin", dtype="V16") if (folder / "documents.bin").is_file() else None
    duplicates, first_duplicates = find_near_duplicates(similarities, neighbours, documents, request.near_duplicate)
    return Findings(
        outliers=outliers,
        first_outliers=first_outliers,
        near_duplicates=duplicates,
        first_near_duplicates=first_duplicates,
        empty_regions=regions,
    )
