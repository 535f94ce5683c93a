"""Equal texts are embedded once."""

import asyncio

import numpy as np

from app.pipeline.shared import SharedVectors


async def test_who_comes_second_waits_for_the_first() -> None:
    """One claims, the other gets the same vector; a text twice in one call is claimed once."""
    shared = SharedVectors(max_bytes=1000)
    first = shared.claim([b"a", b"b", b"a"])
    second = shared.claim([b"b", b"c"])

    shared.settle(b"a", np.ones(4, dtype=np.float32))
    shared.settle(b"b", np.zeros(4, dtype=np.float32))

    assert first.mine == [0, 1]
    assert second.mine == [1]
    assert np.array_equal(np.asarray(await first.shared[2]), np.ones(4))
    assert np.array_equal(np.asarray(await second.shared[0]), np.zeros(4))


async def test_what_its_owner_did_not_embed_is_free_again() -> None:
    """Who waited learns it, and may claim the text."""
    shared = SharedVectors(max_bytes=1000)
    shared.claim([b"a"])
    waiting = shared.claim([b"a"])

    shared.settle(b"a", None)

    assert await waiting.shared[0] is None
    assert shared.claim([b"a"]).mine == [0]


async def test_the_oldest_finished_go_first() -> None:
    """Memory is bounded, and what is on its way is never forgotten."""
    shared = SharedVectors(max_bytes=40)
    shared.claim([b"on its way"])
    for number in range(10):
        key = bytes([number])
        shared.claim([key])
        shared.settle(key, np.ones(4, dtype=np.float32))

    assert shared.claim([b"on its way"]).mine == []
    assert shared.claim([bytes([9])]).mine == []
    assert shared.claim([bytes([0])]).mine == [0]


async def test_a_kept_vector_does_not_keep_its_batch() -> None:
    """A row is kept without the array it was a part of."""
    shared = SharedVectors(max_bytes=10_000)
    claims = shared.claim([b"a", b"a"])
    shared.settle(b"a", np.ones((100, 4), dtype=np.float32)[7])

    row = await asyncio.wait_for(claims.shared[1], 1)

    assert isinstance(row, np.ndarray)
    assert row.base is None
