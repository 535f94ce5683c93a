"""Sentences, and how far what comes before one is from what comes after it in meaning."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from app.pipeline.chunking.boundaries import Boundary, find_lines, find_sentences

WINDOW = 3
"""Sentences on each side."""
STEPS = 10_000
"""Strength of a boundary between two opposite meanings."""
BATCH = 2000


def find_turns(text: str) -> Iterator[Boundary]:
    """Every sentence and line, the stronger the more the subject changes there."""
    places = sorted({place.at for place in find_lines(text)} | _sentences(text))
    edges = [0, *places, len(text)]
    sentences = [text[start:end] for start, end in pairwise(edges)]
    for place, distance in zip(places, _distances(sentences), strict=True):
        yield Boundary(place, max(1, round(distance * STEPS)))


def _sentences(text: str) -> set[int]:
    return {place.at for place in find_sentences(text)}


def _distances(sentences: Sequence[str]) -> Iterator[float]:
    """Half of one minus the cosine, at each place between two sentences."""
    from app.embedders.static import embed_texts  # noqa: PLC0415 — the model is large, and few collections ask for it

    count = len(sentences) - 1
    for first in range(0, count, BATCH):
        last = min(first + BATCH, count)
        before = embed_texts(["".join(sentences[max(0, at + 1 - WINDOW) : at + 1]) for at in range(first, last)])
        after = embed_texts(["".join(sentences[at + 1 : at + 1 + WINDOW]) for at in range(first, last)])
        yield from ((1 - np.einsum("ij,ij->i", before, after)) / 2).tolist()
