"""The static embedder gives WordLlama's own vectors, here and in child processes."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import wordllama

from app.domain.errors import EmbedderRejectedError, EmbedderUnavailableError, ProcessUnavailableError
from app.embedders.static import DIMENSION, POOL_TOKENS, StaticEmbedder, embed_texts
from app.processes.pool import ProcessPool
from tests.processes.calls import Kills, KillsOnce, Leaves

TEXTS = [
    "Whales are large mammals that live in the ocean.",
    "x",
    "Ein längerer Satz, der auch Umlaute wie ä, ö und ü hat, und ein paar Zahlen: 3.14159.",
    "鯨は海に住んでいる。",
    "🐋 " * 40,
    "word " * 300,
]


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[ProcessPool]:
    """One child process."""
    opened = ProcessPool(1, memory_bytes=2**32)
    yield opened
    await opened.aclose()


def test_vectors_are_those_of_the_library() -> None:
    """Our pooling, which pads nothing, equals the library's to 1e-5, also when texts differ much in length."""
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)

    ours, theirs = embed_texts(TEXTS), model.embed(TEXTS, norm=True)

    assert ours.dtype == np.float32
    assert np.abs(ours - theirs).max() < 1e-5


def test_a_text_of_many_pools_is_like_its_repeated_part() -> None:
    """A very long text is summed in parts, and the parts add up."""
    short = embed_texts(["whale " * 100])
    long = embed_texts(["whale " * (POOL_TOKENS * 2)])

    assert float((short * long).sum()) > 0.999


def test_a_text_without_tokens_is_the_first_axis() -> None:
    """Such texts are alike and like nothing in particular; none is NaN."""
    vectors = embed_texts(["", "whale", ""])

    assert np.array_equal(vectors[0], np.eye(1, DIMENSION, dtype=np.float32)[0])
    assert np.array_equal(vectors[0], vectors[2])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts_are_no_rows() -> None:
    """The shape still says the dimension."""
    assert embed_texts([]).shape == (0, DIMENSION)


def test_a_text_that_is_not_unicode_is_embedded() -> None:
    """A lone surrogate counts as an unknown character."""
    vectors = embed_texts(["whale \ud800", "whale"])

    assert np.isfinite(vectors).all()
    assert float(vectors[0] @ vectors[1]) > 0.5


async def test_child_processes_give_the_same_vectors(pool: ProcessPool) -> None:
    """Documents go to a child, queries to a thread, and both mean the same."""
    embedder = StaticEmbedder(pool)

    documents = await embedder.embed_documents(TEXTS)
    query = await embedder.embed_query(TEXTS[0])

    assert np.allclose(documents, embed_texts(TEXTS), atol=1e-6)
    assert np.allclose(documents[0], query, atol=1e-6)
    assert len(pool.pids) == 1


async def test_a_child_killed_in_the_middle_costs_nothing(pool: ProcessPool, tmp_path: Path) -> None:
    """The same texts are embedded in the next child."""
    vectors = await StaticEmbedder(pool).embed_documents([KillsOnce(str(tmp_path / "killed")), "ocean"])

    assert (tmp_path / "killed").exists()
    assert np.allclose(vectors, embed_texts(["whale", "ocean"]), atol=1e-6)


async def test_children_that_are_killed_again_and_again_make_the_embedder_unavailable(pool: ProcessPool) -> None:
    """It says how they ended, and the next call works."""
    embedder = StaticEmbedder(pool)

    with pytest.raises(EmbedderUnavailableError, match="SIGKILL"):
        await embedder.embed_documents([Kills("whale")])

    assert (await embedder.embed_documents(["whale"])).shape == (1, DIMENSION)


async def test_a_text_that_breaks_the_tokenizer_is_refused(pool: ProcessPool) -> None:
    """So only its document fails: callers blame the single text of a batch that is refused."""
    embedder = StaticEmbedder(pool)

    with pytest.raises(EmbedderRejectedError, match="RuntimeError"):
        await embedder.embed_documents(["whale", Leaves("ocean")])

    assert (await embedder.embed_documents(["whale"])).shape == (1, DIMENSION)


async def test_a_pool_that_is_closed_refuses_no_text() -> None:
    """No text is to blame for that."""
    closed = ProcessPool(1, memory_bytes=2**32)
    await closed.aclose()

    with pytest.raises(ProcessUnavailableError):
        await StaticEmbedder(closed).embed_documents(["whale"])
