"""What points are coloured by: at most 255 categories, the most frequent first, and *Other*."""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.projection.colours import OTHER as OTHER_COLOUR
from app.projection.colours import Colour, choose_colour
from app.projection.density import NOISE
from app.projection.texts import fit

Bytes: TypeAlias = NDArray[np.uint8]

OTHER = 255
OTHER_NAME = "Other"
NAMELESS = "(no name)"
LONGEST_NAME = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Categories:
    """Names, and the category of each point.

    Attributes:
        names: at most 255, most frequent first.
        of: uint8 (n,), places in ``names``, or ``OTHER``.
    """

    names: Sequence[str]
    of: Bytes

    def count(self) -> list[tuple[int, str, int, Colour]]:
        """Number, name, points and colour of each category that has points; *Other* is the last."""
        counts = np.bincount(self.of, minlength=OTHER + 1).tolist()
        found = [(one, name, counts[one], choose_colour(one)) for one, name in enumerate(self.names) if counts[one]]
        return [*found, (OTHER, OTHER_NAME, counts[OTHER], OTHER_COLOUR)] if counts[OTHER] else found


def write_categories(folder: str, values: Iterable[str | None]) -> str:
    """Write ``categories.npy`` and ``categories.json``, as artifacts take them, from one value a point.

    Args:
        folder: where they go.
        values: in the order of the points; what has no value, or a rare one beyond the 255th, is *Other*.

    Returns:
        The path of the JSON file.
    """
    names: dict[str, int] = {}
    found = np.fromiter(
        (NOISE if value is None else names.setdefault(value, len(names)) for value in values), dtype=np.int32
    )
    path, numbers = Path(folder) / "categories.json", Path(folder) / "categories.npy"
    listed, of = _rank(list(names), found)
    np.save(numbers, of.astype(np.int32))
    path.write_text(json.dumps({"names": listed, "of": str(numbers)}), encoding="utf-8")
    return str(path)


def write_cluster_categories(folder: str) -> str:
    """Write the categories of colour by cluster: the coarse clusters of ``clusters.json``, and *Other* for noise."""
    clusters = json.loads((Path(folder) / "clusters.json").read_text(encoding="utf-8"))
    fine = np.load(Path(folder) / "clusters.npy")
    coarse = [one for one in clusters if one["parent"] is None]
    labels = tell_apart(one["label"] or f"Cluster {one['id']}" for one in coarse)
    names = {one["id"]: label for one, label in zip(coarse, labels, strict=True)}
    of_fine = {one["id"]: names[one["parent"]] for one in clusters if one["parent"] is not None}
    return write_categories(folder, (of_fine.get(cluster) for cluster in fine.tolist()))


def tell_apart(names: Iterable[str]) -> list[str]:
    """The same names, but for those that are there already, empty, or that of *Other*."""
    told: dict[str, None] = {}
    for name in names:
        plain = name if name.strip() else NAMELESS
        taken = {*told, OTHER_NAME}
        told[next(one for one in itertools.chain([plain], _number(plain)) if one not in taken)] = None
    return list(told)


def _number(name: str) -> Iterator[str]:
    return (f"{name} ({number})" for number in itertools.count(2))


def read_categories(path: str | None, points: int) -> Categories:
    """Categories as they were written; what does not name one of the names is *Other*.

    Raises:
        ValueError: if there are not as many numbers as points.
    """
    if path is None:
        return Categories(names=(), of=np.full(points, OTHER, dtype=np.uint8))
    described = json.loads(Path(path).read_text(encoding="utf-8"))
    found = np.load(described["of"], mmap_mode="r")
    if len(found) != points:
        raise ValueError(f"{len(found)} categories for {points} points")
    names, of = _rank(described["names"], found)
    return Categories(names=names, of=of)


def _rank(names: Sequence[str], found: NDArray[np.int32]) -> tuple[list[str], Bytes]:
    """The most frequent names first, at most 255 of them, and the place of each value among them."""
    known = (found >= 0) & (found < len(names))
    counts = np.bincount(found[known], minlength=len(names))
    ranked = np.argsort(-counts, kind="stable")[:OTHER]
    ranked = ranked[counts[ranked] > 0]
    places = np.full(len(names) + 1, OTHER, dtype=np.uint8)
    places[ranked] = np.arange(len(ranked), dtype=np.uint8)
    return tell_apart([fit(names[one], LONGEST_NAME) for one in ranked]), places[np.where(known, found, len(names))]
