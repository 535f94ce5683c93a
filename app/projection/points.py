"""The points of a projection as its files hold them, with what was found about them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.projection.categories import Categories
from app.projection.density import NOISE, Integers, find_finite
from app.projection.texts import fit

Floats32: TypeAlias = NDArray[np.float32]

ID_BYTES = 16
LONGEST_LABEL = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """All arrays have a row a point, and are mapped from their files where they are large.

    Attributes:
        coordinates: float32 (n, dimensions).
        clusters: fine cluster of each point, -1 for none.
        described: the clusters of ``clusters.json``.
        placed: 1 where a point was placed by its neighbours.
    """

    folder: Path
    coordinates: Floats32
    clusters: Integers
    described: Sequence[dict[str, Any]]
    placed: NDArray[np.uint8]
    categories: Categories

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Points that have a place."""
        return find_finite(self.coordinates)


def read_points(folder: Path, categories: Categories) -> Points:
    """Read the files of a projection; without clusters, everything is noise."""
    coordinates: Floats32 = np.load(folder / "coordinates.npy", mmap_mode="r")
    count = len(coordinates)
    clusters: Integers = np.full(count, NOISE, dtype=np.int32)
    described: Sequence[dict[str, Any]] = ()
    if (folder / "clusters.npy").is_file():
        clusters = np.load(folder / "clusters.npy", mmap_mode="r")
        found = json.loads((folder / "clusters.json").read_text(encoding="utf-8"))
        described = [{**one, "label": fit(one["label"], LONGEST_LABEL)} for one in found]
    placed = np.zeros(count, dtype=np.uint8)
    if count and (folder / "placed.u8").is_file():
        placed = np.fromfile(folder / "placed.u8", dtype=np.uint8)
    return Points(
        folder=folder,
        coordinates=coordinates,
        clusters=clusters,
        described=described,
        placed=placed,
        categories=categories,
    )


def read_ids(path: Path, start: int, end: int) -> list[str | None]:
    """Ids of some rows as text; None for each if there is no such file."""
    if not path.is_file():
        return [None] * (end - start)
    with path.open("rb") as file:
        file.seek(start * ID_BYTES)
        read = file.read((end - start) * ID_BYTES)
    return [str(UUID(bytes=read[at : at + ID_BYTES])) for at in range(0, len(read), ID_BYTES)]
