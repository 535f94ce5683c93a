"""Samples that depend on a seed and on what there is, not on the order in which it comes."""

from collections.abc import Sequence
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.domain.points import Vectors

MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def rank_ids(ids: Sequence[UUID], seed: int) -> NDArray[np.uint64]:
    """A number for each id that looks random (splitmix64)."""
    words = np.frombuffer(b"".join(point.bytes for point in ids), dtype=">u8").reshape(len(ids), 2)
    ranks = words[:, 0].astype(np.uint64) ^ words[:, 1].astype(np.uint64)
    ranks ^= np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)
    ranks = (ranks ^ (ranks >> np.uint64(30))) * MIX[0]
    ranks = (ranks ^ (ranks >> np.uint64(27))) * MIX[1]
    mixed: NDArray[np.uint64] = ranks ^ (ranks >> np.uint64(31))
    return mixed


class IdSample:
    """The ids of lowest rank of all that were offered, with a row of numbers each."""

    def __init__(self, size: int, *, seed: int, width: int = 0) -> None:
        self._size = size
        self._seed = seed
        self._ranks = np.empty(0, dtype=np.uint64)
        self.ids: list[UUID] = []
        self.rows: Vectors = np.empty((0, width), dtype=np.float32)

    def offer(self, ids: Sequence[UUID], rows: Vectors | None = None) -> None:
        """Take those that belong in the sample."""
        if not ids:
            return
        ranks = rank_ids(ids, self._seed)
        more = np.empty((len(ids), self.rows.shape[1]), dtype=np.float32) if rows is None else rows
        if len(self.ids) == self._size and len(self.ids):
            better = np.flatnonzero(ranks < self._ranks[-1])
            ranks, more, ids = ranks[better], more[better], [ids[int(number)] for number in better]
        every = [*self.ids, *ids]
        ranks = np.concatenate([self._ranks, ranks])
        order = np.argsort(ranks, kind="stable")[: self._size]
        self.rows = np.concatenate([self.rows, more])[order]
        self._ranks = ranks[order]
        self.ids = [every[number] for number in order]
