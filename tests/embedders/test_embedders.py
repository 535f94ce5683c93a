"""Both embedders keep the port's promises."""

from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from app.domain.errors import EmbedderChangedError
from app.domain.ports import Embedder
from app.embedders.fingerprint import check_canaries, take_canaries
from app.embedders.http import HttpEmbedder
from app.embedders.static import StaticEmbedder
from tests.model_server import FakeModelServer


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    """A model server double."""
    with FakeModelServer().running() as running:
        yield running


@pytest.fixture
async def http(server: FakeModelServer) -> AsyncIterator[HttpEmbedder]:
    """An embedder over it."""
    embedder = HttpEmbedder(server.url, model=server.model, timeout_seconds=5)
    yield embedder
    await embedder.aclose()


@pytest.fixture(params=["static", "http"])
async def embedder(request: pytest.FixtureRequest, http: HttpEmbedder) -> Embedder:
    """Each implementation of the port."""
    return http if request.param == "http" else StaticEmbedder()


async def test_vectors_are_normalised_and_in_order(embedder: Embedder) -> None:
    """Shape, type, norms and order are those of the port."""
    together = await embedder.embed_documents(["a whale", "a rocket", "a whale"])
    alone = await embedder.embed_documents(["a rocket"])

    assert together.shape == (3, await embedder.dimension())
    assert together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.allclose(together[0], together[2])
    assert np.allclose(together[1], alone[0], atol=1e-5)


async def test_a_text_without_tokens_gives_a_usable_vector(embedder: Embedder) -> None:
    """Never NaN."""
    vectors = await embedder.embed_documents(["", " "])

    assert np.isfinite(vectors).all()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


async def test_canaries_recognise_their_model(embedder: Embedder) -> None:
    """The same model passes, other vectors stop with embedder_changed."""
    fingerprint, canaries = await take_canaries(embedder)
    dimension = await embedder.dimension()
    other = np.roll(np.frombuffer(canaries, dtype="<f4").reshape(3, dimension), 1, axis=1).tobytes()

    await check_canaries(embedder, canaries, dimension=dimension)

    assert len(fingerprint) == 64
    with pytest.raises(EmbedderChangedError):
        await check_canaries(embedder, other, dimension=dimension)
