"""A check of a few bytes that binds a vector to the id of its point.

A chunk's id is a hash of its text, and the check is made of the id and the vector. So a point whose vector is that of
another text is found without a model, also when the payload was moved along with the vector.

It is four sums of the vector's numbers under fixed signs, and not a hash of its bytes: stores normalise vectors or keep
them with less precision, and a check has to survive that.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.domain.points import Vectors

CHECK = "vector_check"
"""Its key in the payload."""

SUMS = 4
SCALE = 10_000
TOLERANCE = 100
"""In units of 1 / ``SCALE``: sums of unit vectors differ by about 1 between texts, by 0.0005 after half precision."""


NORM_TOLERANCE = 0.01


@lru_cache(maxsize=8)
def _signs(dimension: int) -> Vectors:
    bits = np.frombuffer(hashlib.shake_256(b"vecloom vector check").digest(dimension * SUMS), dtype=np.uint8) & 1
    return bits.astype(np.float32).reshape(dimension, SUMS) * 2 - 1


def _sums(vectors: Vectors) -> NDArray[np.int64]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        units = np.nan_to_num(vectors / norms, nan=0.0, posinf=0.0, neginf=0.0)
    sums: NDArray[np.int64] = np.rint(units @ _signs(vectors.shape[1]) * SCALE).astype(np.int64)
    return sums


def _words(ids: Sequence[UUID]) -> NDArray[np.int64]:
    return np.frombuffer(b"".join(point.bytes for point in ids), dtype=">u4").reshape(len(ids), SUMS).astype(np.int64)


def take_checks(ids: Sequence[UUID], vectors: Vectors) -> list[list[int]]:
    """The check of each point: four numbers of 32 bits."""
    checks: list[list[int]] = ((_sums(vectors) + _words(ids)) % 2**32).tolist()
    return checks


def check_vectors(ids: Sequence[UUID], vectors: Vectors, checks: Sequence[object]) -> NDArray[np.bool_]:
    """Whether each vector is the one its check was taken of; a point without a check (None) passes."""
    known = [number for number, check in enumerate(checks) if check is not None]
    passed = np.ones(len(ids), dtype=np.bool_)
    if not known:
        return passed
    stored = np.array([_read(checks[number]) for number in known], dtype=np.int64).reshape(len(known), SUMS)
    expected = _sums(vectors[known]) + _words([ids[number] for number in known])
    distance = (stored - expected + 2**31) % 2**32 - 2**31
    passed[known] = (np.abs(distance) <= TOLERANCE).all(axis=1) & (stored >= 0).all(axis=1)
    return passed


def are_units(vectors: Vectors) -> NDArray[np.bool_]:
    """Whether each vector is finite and has norm 1."""
    with np.errstate(invalid="ignore", over="ignore"):
        norms: Vectors = np.linalg.norm(vectors, axis=1)
        return np.isfinite(norms) & (np.abs(norms - 1) <= NORM_TOLERANCE)


def _read(check: object) -> list[int]:
    """Its numbers; what is no check becomes one that nothing passes."""
    if isinstance(check, list) and len(check) == SUMS and all(isinstance(n, int) and 0 <= n < 2**32 for n in check):
        return check
    return [-1] * SUMS
