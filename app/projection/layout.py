"""One layout of a collection's vectors, as it is asked for and answered; made in a child process."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

NEIGHBOURS = 15
"""Nearest neighbours of every point that are kept, and that quality is measured by."""


class Method(StrEnum):
    """How points are laid out."""

    UMAP = "umap"
    TSNE = "tsne"
    PCA = "pca"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutRequest:
    """A layout to be made.

    Args:
        method: how.
        dimensions: 2 or 3.
        parameters: of the method, as ``check_parameters`` gives them.
        seed: the same vectors, request and number of cores give the same map.
        folder: holds ``vectors.npy``, float32 ``(n, width)``, rows L2-normalised; results go there.
        sample: points that are laid out, drawn uniformly; the rest is placed by its neighbours among them.
        initial: path of the map before as ``.npy``, float32 ``(n, dimensions)``, in the order of these points, NaN
            where a point was not on it.
        progress: path of a ``ProgressFile``.
    """

    method: Method
    dimensions: int
    parameters: Mapping[str, Any]
    seed: int
    folder: str
    sample: int
    initial: str | None = None
    progress: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutAnswer:
    """What was made.

    Args:
        method: PCA if the one that was asked for could not be used.
        degraded: why it could not: ``too_few_points``, ``equal_vectors``, ``not_finite``, ``layout_failed``.
        points: all, also those that were left out.
        sampled: how many were laid out; others were placed.
        left_out: points with vectors that are no numbers: at the centre, trust 0.
        notes: parameters that the data did not allow, and what was taken instead.
        quality: ``trustworthiness@15``, ``neighbourhood_recall@15``, ``triplet_accuracy``, on a sample; empty where
            there are too few points.
        displacement: how far the points of the map before moved, ``median`` and ``p90``, as shares of that map's RMS
            radius; empty without one.
        seconds: by stage.
        warm: whether no code had to be compiled.
    """

    method: Method
    degraded: str | None
    points: int
    sampled: int
    left_out: int
    notes: tuple[str, ...]
    quality: Mapping[str, float]
    displacement: Mapping[str, float]
    seconds: Mapping[str, float]
    warm: bool


def make_layout(request: LayoutRequest) -> LayoutAnswer:
    """Write ``coordinates.npy``, ``trust.f32``, ``placed.u8`` and ``neighbours.npy``.

    ``neighbours.npy`` is int32 ``(n, 15)``: rows of the nearest points among those laid out, nearest first, -1 where
    there are no more.

    Raises:
        OSError: if the folder cannot be read or written.
    """
    from app.projection.making import make  # noqa: PLC0415 — seconds of imports that a parent process has no use for

    return make(request)


def make_first_map(folder: str, dimensions: int) -> None:
    """Write ``first.npy``: the two or three main directions of ``vectors.npy``, float32 ``(n, dimensions)``."""
    from app.projection.principal import write_first_map  # noqa: PLC0415 — see above

    write_first_map(folder, dimensions)
