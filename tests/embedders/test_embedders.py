"""Both embedders keep the port's promises."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

from app.domain.errors import (
    EmbedderBatchTooLargeError,
    EmbedderChangedError,
    EmbedderGarbageError,
    EmbedderRejectedError,
    EmbedderUnavailableError,
)
from app.domain.ports import Embedder
from app.embedders.fingerprint import check_canaries, take_canaries
from app.embedders.http import HttpEmbedder
from app.embedders.static import StaticEmbedder
from tests.embedders.model_server import FakeModelServer, serving


@pytest.fixture
async def server() -> AsyncIterator[FakeModelServer]:
    """A model server double."""
    async with serving() as fake:
        yield fake


@pytest.fixture
async def http(server: FakeModelServer) -> AsyncIterator[HttpEmbedder]:
    """An embedder over it."""
    embedder = HttpEmbedder(server.url, model="fake", api_key=server.key, timeout_seconds=5)
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


async def test_float_lists_are_read_too(http: HttpEmbedder, server: FakeModelServer) -> None:
    """A server that ignores base64 gives the same vectors."""
    encoded = await http.embed_documents(["text"])
    server.as_floats = True

    assert np.allclose(await http.embed_documents(["text"]), encoded, atol=1e-6)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (503, EmbedderUnavailableError),
        (429, EmbedderUnavailableError),
        (500, EmbedderUnavailableError),
        (413, EmbedderBatchTooLargeError),
        (400, EmbedderRejectedError),
    ],
)
async def test_statuses_are_classified(
    http: HttpEmbedder, server: FakeModelServer, status: int, error: type[Exception]
) -> None:
    """Each status is the error that decides what happens next."""
    server.answers += [(status, {}), (status, {})]  # a refused request may be asked again in another encoding

    with pytest.raises(error):
        await http.embed_documents(["text"])


async def test_retry_after_is_kept(http: HttpEmbedder, server: FakeModelServer) -> None:
    """Seconds the server asked for reach the caller."""
    server.answers.append((429, {"Retry-After": "7"}))

    with pytest.raises(EmbedderUnavailableError) as caught:
        await http.embed_documents(["text"])

    assert caught.value.retry_after_seconds == 7


@pytest.mark.parametrize("garbage", ["text", "short", "nan"])
async def test_garbage_is_not_stored(http: HttpEmbedder, server: FakeModelServer, garbage: str) -> None:
    """An unreadable, short or not finite answer is an error, not a vector."""
    server.garbage = garbage

    with pytest.raises(EmbedderGarbageError):
        await http.embed_documents(["one", "two"])


async def test_a_wrong_key_is_refused_without_telling_it(server: FakeModelServer) -> None:
    """The key is in no message."""
    embedder = HttpEmbedder(server.url, model="fake", api_key="wrong-key")

    with pytest.raises(EmbedderRejectedError) as caught:
        await embedder.embed_documents(["text"])
    await embedder.aclose()

    assert "wrong-key" not in str(caught.value)
