"""An ONNX model of a folder, run by the real library in a child process."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from app.bootstrap import EmbedderRegistry
from app.domain.errors import ModelNotLoadedError
from app.domain.ports import Embedder
from app.embedders.fastembed import FastEmbedder
from app.processes.pool import ProcessPool
from app.settings import Settings
from tests.embedders.onnx_model import DIMENSION, WORDS, table, write_model

pytest.importorskip("fastembed", reason="the extra 'fastembed' is not installed")


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[ProcessPool]:
    """One child process."""
    opened = ProcessPool(1, memory_bytes=2**33)
    yield opened
    await opened.aclose()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model."""
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def embedder(folder: Path, pool: ProcessPool) -> FastEmbedder:
    """An embedder over it."""
    return FastEmbedder(folder, model="words", processes=pool)


def mean_of(*words: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """What the model makes of words."""
    vector = table()[[WORDS.index(word) for word in words]].mean(axis=0)
    unit: np.ndarray[tuple[int], np.dtype[np.float32]] = vector / np.linalg.norm(vector)
    return unit


async def test_texts_become_the_models_vectors(embedder: FastEmbedder) -> None:
    """Token vectors are averaged over the text alone, whatever it was padded to, and have norm 1."""
    vectors = await embedder.embed_documents(["whales swim in the ocean", "rockets", "burn fuel"])
    query = await embedder.embed_query("rockets")

    assert await embedder.dimension() == DIMENSION
    assert vectors.dtype == np.float32
    assert np.allclose(vectors[0], mean_of("whales", "swim", "in", "the", "ocean"), atol=1e-5)
    assert np.allclose(vectors[1], mean_of("rockets"), atol=1e-5)
    assert np.allclose(vectors[2], mean_of("burn", "fuel"), atol=1e-5)
    assert np.allclose(query, vectors[1], atol=1e-6)


async def test_any_text_has_a_vector(embedder: FastEmbedder) -> None:
    """Blank ones, unknown words and what is no UTF-8; and no texts are no rows."""
    vectors = await embedder.embed_documents(["", " \n", "\ud800 whales", "nothing known"])
    none = await embedder.embed_documents([])

    assert np.array_equal(vectors[0], np.eye(1, DIMENSION, dtype=np.float32)[0])
    assert np.array_equal(vectors[0], vectors[1])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert none.shape == (0, DIMENSION)


async def test_prefixes_go_before_queries_and_documents(folder: Path, pool: ProcessPool) -> None:
    """Each kind of text gets its own."""
    embedder = FastEmbedder(folder, model="words", processes=pool, query_prefix="rockets ", document_prefix="whales ")

    document = (await embedder.embed_documents(["swim"]))[0]
    query = await embedder.embed_query("swim")

    assert np.allclose(document, mean_of("whales", "swim"), atol=1e-5)
    assert np.allclose(query, mean_of("rockets", "swim"), atol=1e-5)


async def test_the_folder_may_say_that_the_first_token_counts(tmp_path: Path, pool: ProcessPool) -> None:
    """As sentence-transformers writes it."""
    folder = write_model(tmp_path / "cls")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))

    vectors = await FastEmbedder(folder, model="first", processes=pool).embed_documents(["whales swim"])

    assert np.allclose(vectors[0], mean_of("whales"), atol=1e-5)


@pytest.mark.parametrize(
    ("file", "content"),
    [("model.onnx", None), ("model.onnx", b"no model"), ("tokenizer.json", None), ("tokenizer_config.json", b"{}")],
)
async def test_a_folder_that_is_no_model_says_what_is_wrong(
    tmp_path: Path, pool: ProcessPool, file: str, content: bytes | None
) -> None:
    """A missing or broken file is an error with a code, not a document's, and is named."""
    folder = write_model(tmp_path / "broken")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)

    with pytest.raises(ModelNotLoadedError) as caught:
        await FastEmbedder(folder, model="words", processes=pool).embed_documents(["whales"])

    assert str(folder) in caught.value.message


async def test_settings_make_it_a_model_of_the_server(folder: Path) -> None:
    """FASTEMBED_PATH and FASTEMBED_MODEL name it; its process ends with the registry."""
    registry = EmbedderRegistry(Settings(fastembed_path=folder, fastembed_model="words"), None)
    found: Embedder = registry.find("words")

    vectors = await found.embed_documents(["whales"])
    await registry.aclose()

    assert np.allclose(vectors[0], mean_of("whales"), atol=1e-5)
