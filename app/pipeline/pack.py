"""Packs texts into embedding requests."""

from collections.abc import Sequence


def pack_batches(tokens: Sequence[int], *, max_texts: int, max_tokens: int) -> list[list[int]]:
    """Indices of texts by request: similar lengths together, each request within both bounds.

    A text longer than ``max_tokens`` gets a request of its own. Padding is counted: a request costs its longest
    text times its number of texts.
    """
    batches: list[list[int]] = []
    batch: list[int] = []
    for index in sorted(range(len(tokens)), key=lambda position: (tokens[position], position)):
        cost = tokens[index] * (len(batch) + 1)
        if batch and (len(batch) == max_texts or cost > max_tokens):
            batches.append(batch)
            batch = []
        batch.append(index)
    if batch:
        batches.append(batch)
    return batches
