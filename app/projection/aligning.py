"""Laying one map over another, so that people find again what they know."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Coordinates = NDArray[np.float32]


def align(coordinates: Coordinates, reference: Coordinates, known: NDArray[np.bool_]) -> Coordinates:
    """Turn, mirror, scale and shift a map so that its known points are nearest to where they were.

    Args:
        coordinates: shape ``(n, dimensions)``.
        reference: where the points were, the same shape; only known rows are read.
        known: which rows were on the reference. With fewer than two of them, or all at one place, nothing is changed.
    """
    ours, theirs = coordinates[known].astype(np.float64), reference[known].astype(np.float64)
    if len(ours) < 2:
        return coordinates
    our_centre, their_centre = ours.mean(axis=0), theirs.mean(axis=0)
    ours, theirs = ours - our_centre, theirs - their_centre
    spread = float(np.square(ours).sum())
    if spread <= 0 or not np.square(theirs).sum() > 0:
        return coordinates
    left, strength, right = np.linalg.svd(ours.T @ theirs)
    turned = (coordinates.astype(np.float64) - our_centre) @ (left @ right) * (strength.sum() / spread)
    aligned: Coordinates = (turned + their_centre).astype(np.float32)
    return aligned


def measure_displacement(
    coordinates: Coordinates, reference: Coordinates, known: NDArray[np.bool_]
) -> Mapping[str, float]:
    """How far known points moved, as shares of the reference's RMS radius; empty where there is no radius."""
    theirs = reference[known].astype(np.float64)
    if len(theirs) < 2:
        return {}
    radius = float(np.sqrt(np.square(theirs - theirs.mean(axis=0)).sum(axis=1).mean()))
    if radius <= 0:
        return {}
    moved = np.linalg.norm(coordinates[known] - theirs, axis=1) / radius
    return {"median": float(np.median(moved)), "p90": float(np.quantile(moved, 0.9))}
