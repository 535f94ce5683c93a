"""Rebuilds with nothing wrong are not refused, whatever was changed on purpose."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import numpy as np
import pytest

from app.domain.documents import Chunking
from app.domain.points import Vectors
from app.domain.ports import Embedder
from app.embedders.http import HttpEmbedder
from app.evaluation.policy import STRICT
from app.pipeline.validation.sides import Sizes
from tests.reindex.generations import DOCUMENTS, ProjectedServer, Shelf, first_numbers, turned

SIZES = Sizes(texts=60, words=20, neighbours=10, filters=5, recut=20, documents=30)


@dataclass(frozen=True, kw_only=True)
class Rebuild:
    """What is rebuilt in another way, and how it is sampled.

    Where searches find a little less, which is no reason to refuse, all documents are asked about: of a few of them the
    loss may be more than it is.
    """

    chunking: Chunking | None = None
    model: str | None = None
    seed: int = 0
    documents: int = SIZES.documents


def cut(size: int, overlap: int) -> Rebuild:
    """Other chunks."""
    return Rebuild(chunking=Chunking(size=size, overlap=overlap))


REBUILDS = {
    **{f"seed {seed}": Rebuild(seed=seed) for seed in range(1, 7)},
    **{f"{size} tokens, {overlap} shared": cut(size, overlap) for size, overlap in ((30, 0), (50, 5), (80, 0))},
    **{f"{size} tokens, {overlap} shared": cut(size, overlap) for size, overlap in ((120, 20), (200, 20))},
    **{f"another model, seed {seed}": Rebuild(model="turned", seed=seed) for seed in range(1, 4)},
    "240 d": Rebuild(model="first", documents=DOCUMENTS),
    "400 tokens, 40 shared": Rebuild(chunking=Chunking(size=400, overlap=40), documents=DOCUMENTS),
    "384 d": Rebuild(model="wide"),
    "1024 d": Rebuild(model="widest"),
    "another model and smaller chunks": Rebuild(model="turned", chunking=Chunking(size=60, overlap=6)),
    "384 d and larger chunks": Rebuild(model="wide", chunking=Chunking(size=150, overlap=15)),
}


def lifted(dimension: int) -> Callable[[Vectors], Vectors]:
    """The packaged model in a larger space."""
    random = np.random.default_rng(dimension)
    axes = np.linalg.qr(random.standard_normal((dimension, 256)))[0].T.astype(np.float32)
    return lambda vector: vector @ axes


SERVERS = {
    "turned": lambda: ProjectedServer("turned", turned(5), dimension=256),
    "first": lambda: ProjectedServer("first", first_numbers(240), dimension=240),
    "wide": lambda: ProjectedServer("wide", lifted(384), dimension=384),
    "widest": lambda: ProjectedServer("widest", lifted(1024), dimension=1024),
}
"""Models that are not worse than the packaged one, or not much."""


@asynccontextmanager
async def embedding(shelf: Shelf, model: str | None) -> AsyncIterator[Embedder]:
    """The embedder of a model behind HTTP, or the collection's own."""
    if model is None:
        yield shelf.embedder
        return
    with SERVERS[model]().running() as server:
        embedder = HttpEmbedder(server.url, model=server.model)
        yield embedder
        await embedder.aclose()


def test_there_are_twenty() -> None:
    """As many as were promised."""
    assert len(REBUILDS) == 20


@pytest.mark.parametrize("rebuild", REBUILDS.values(), ids=REBUILDS)
async def test_an_honest_rebuild_is_not_refused(shelf: Shelf, rebuild: Rebuild) -> None:
    """Every hard check passes."""
    sizes = replace(SIZES, documents=rebuild.documents)
    async with embedding(shelf, rebuild.model) as embedder:
        generation = await shelf.rebuild(embedder=embedder, chunking=rebuild.chunking)
        report = await shelf.validate(generation, embedder=embedder, seed=rebuild.seed, sizes=sizes)

    assert report.passed, {name: report.check(name).summary for name in report.failed}


async def test_the_strict_policy_takes_an_honest_copy_too(shelf: Shelf) -> None:
    """All checks can be made where nothing has changed, so none has to be waived but for speed, which is chance."""
    report = await shelf.validate(await shelf.rebuild(), policy=STRICT, sizes=SIZES)

    assert set(report.failed) <= {"latency"}
