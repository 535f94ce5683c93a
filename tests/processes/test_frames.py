"""Pickles in parts are the values they were made from."""

from typing import Any

import numpy as np
import pytest

from app.processes.frames import LARGE_BYTES, dump, load

VALUES: dict[str, Any] = {
    "nothing": None,
    "small": {"a": [1, 2.5, "ü"], "b": (b"x", frozenset({1}))},
    "just small": b"x" * (LARGE_BYTES - 100),
    "large bytes": bytes(range(256)) * 20_000,
    "large bytearray": bytearray(b"ab" * LARGE_BYTES),
    "large text": "text with ü and 鯨 " * 200_000,
    "many": [(number, str(number)) for number in range(200_000)],
    "mixed": [b"x" * 70_000, "y" * 70_000, list(range(70_000))] * 5,
}


@pytest.mark.parametrize("name", VALUES)
async def test_a_value_comes_back(name: str) -> None:
    """Whatever its size, and however its parts are cut on the way."""
    whole = b"".join(await dump(VALUES[name]))
    parts = [whole[start : start + 99_991] for start in range(0, len(whole), 99_991)]

    assert await load(parts) == VALUES[name]


async def test_an_array_comes_back() -> None:
    """Vectors of an embedder, 4 MiB."""
    vectors = np.random.default_rng(1).random((4096, 256), dtype=np.float32)

    again = await load(await dump(vectors))

    assert np.array_equal(again, vectors)


async def test_what_cannot_be_pickled_is_an_error() -> None:
    """The caller sees why."""
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        await dump(lambda: None)
