"""``vecloom embed-server``, over its socket: in this process with a slow model behind it, and as people start it."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.api.embedding_server import EmbeddingServer
from app.api.serving import serving
from app.bootstrap import MissingSettingError, configured_endpoints, open_parts, running_worker, serving_embeddings
from app.domain.errors import (
    EmbedderOverloadedError,
    EmbedderRefusesAccessError,
    EmbedderRejectedError,
    UnknownModelError,
)
from app.embedders.http import HttpEmbedder
from app.embedders.static import embed_texts
from app.pipeline.embedding_line import EmbeddingLine
from app.settings import Settings
from tests.embedders.onnx_model import write_model
from tests.harness import VECLOOM, open_client, wait_until
from tests.model_server import FakeModelServer

KEY = "a-key-between-us"


@pytest.fixture
def behind() -> Iterator[FakeModelServer]:
    """The model, which can be slow and picky."""
    with FakeModelServer().running() as running:
        yield running


@asynccontextmanager
async def server_before(model: FakeModelServer, *, queue: int = 100, max_bytes: int = 10_000) -> AsyncIterator[str]:
    """An embedding server over a model; gives its base URL."""
    embedder = HttpEmbedder(model.url, model=model.model, timeout_seconds=5)
    line = EmbeddingLine(embedder, max_texts=10, max_tokens=10_000, concurrency=1, first_pause_seconds=0.01)
    server = EmbeddingServer(
        line, model=model.model, dimension=model.dimension, key=KEY, queue=queue, max_bytes=max_bytes
    )
    async with serving(server.application(), host="127.0.0.1", port=0) as url:
        yield url
    await line.aclose()
    await embedder.aclose()


@asynccontextmanager
async def client_of(url: str, **options: Any) -> AsyncIterator[HttpEmbedder]:
    """What a worker has."""
    embedder = HttpEmbedder(url, **{"model": "fake-model", "internal_key": KEY, "timeout_seconds": 10, **options})
    try:
        yield embedder
    finally:
        await embedder.aclose()


async def test_both_encodings_give_the_models_vectors(behind: FakeModelServer) -> None:
    """Base64 and lists of numbers are the same, one text needs no list, and the answer counts tokens."""
    headers = {"X-Internal-Api-Key": KEY}
    async with server_before(behind) as url, client_of(url) as client, httpx.AsyncClient(headers=headers) as plain:
        vectors = await client.embed_documents(["one", "two"])
        answer = await plain.post(f"{url}/v1/embeddings", json={"model": "fake-model", "input": "two"})

    body = answer.json()
    assert np.allclose(vectors[1], body["data"][0]["embedding"], atol=1e-6)
    assert np.allclose(vectors[0], behind.vector_of("one") / np.linalg.norm(behind.vector_of("one")), atol=1e-6)
    assert body["usage"]["total_tokens"] > 0


async def test_requests_of_many_callers_are_batched(behind: FakeModelServer) -> None:
    """What comes while the model is busy goes to it together."""
    behind.delay_seconds = 0.05
    async with server_before(behind) as url, client_of(url, concurrency=30) as client, asyncio.TaskGroup() as group:
        for number in range(30):
            group.create_task(client.embed_documents([f"text {number}"]))

    assert sum(behind.batches) == 30
    assert len(behind.batches) <= 8


async def test_a_full_queue_answers_429(behind: FakeModelServer) -> None:
    """It says when to come again; a large request alone is taken, and what waits is not lost."""
    behind.held = True
    async with server_before(behind, queue=20) as url, client_of(url) as client:
        large = asyncio.create_task(client.embed_documents([f"text {number}" for number in range(40)]))
        await wait_until(lambda: _is_open(behind))
        with pytest.raises(EmbedderOverloadedError) as caught:
            await client.embed_documents(["one"])
        behind.held = False
        vectors = await large

    assert caught.value.retry_after_seconds == 1
    assert vectors.shape == (40, 16)


async def _is_open(model: FakeModelServer) -> bool:
    return model.open > 0


async def test_a_caller_that_goes_away_frees_its_place(behind: FakeModelServer) -> None:
    """What the model has not begun with is not sent, and the next one is served."""
    behind.held = True
    async with server_before(behind, queue=20) as url, client_of(url) as client:
        gone = asyncio.create_task(client.embed_documents([f"gone {number}" for number in range(40)]))
        await wait_until(lambda: _is_open(behind))
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        await wait_until(lambda: _is_closed(behind))
        behind.held = False
        vectors = await client.embed_documents(["stays"])

    assert vectors.shape == (1, 16)
    assert behind.texts[-1] == "stays"
    assert len(behind.texts) <= 10 + 1


async def _is_closed(model: FakeModelServer) -> bool:
    return model.open == 0


async def test_refusals_are_what_a_client_understands(behind: FakeModelServer) -> None:
    """A wrong key, another model and a bad text are three different errors."""
    behind.poison = "bad"
    async with server_before(behind) as url:
        async with client_of(url, internal_key="wrong") as client:
            with pytest.raises(EmbedderRefusesAccessError):
                await client.embed_documents(["one"])
        async with client_of(url, model="another") as client:
            with pytest.raises(UnknownModelError):
                await client.embed_documents(["one"])
        async with client_of(url) as client:
            await client.embed_documents(["fine"])
            with pytest.raises(EmbedderRejectedError):
                await client.embed_documents(["fine", "bad"])


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"no json", 400),
        (b"[]", 400),
        (b'{"input": []}', 400),
        (b'{"input": [[1, 2]]}', 400),
        (b'{"input": "x", "encoding_format": "hex"}', 400),
        (b'{"input": "' + b"x" * 20_000 + b'"}', 413),
    ],
)
async def test_a_body_that_is_none_is_refused(behind: FakeModelServer, content: bytes, status: int) -> None:
    """With a status that blames the request, and OpenAI's error object."""
    async with server_before(behind) as url, httpx.AsyncClient(headers={"X-Internal-Api-Key": KEY}) as client:
        answer = await client.post(f"{url}/v1/embeddings", content=content)

    assert answer.status_code == status
    assert answer.json()["error"]["message"]


async def test_without_a_key_only_this_machine_is_served() -> None:
    """Listening for others is refused before anything is loaded."""
    with pytest.raises(MissingSettingError, match="VECLOOM_EMBEDDING_INTERNAL_KEY"):
        async with serving_embeddings(Settings(), host="0.0.0.0", port=0):
            pass


class ServerProcess:
    """``vecloom embed-server`` as people start it."""

    def __init__(self, log: Path, **variables: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        environment = {**os.environ, "VECLOOM_EMBEDDING_INTERNAL_KEY": KEY, **variables}
        command = [*VECLOOM, "embed-server", "--port", str(self.port), "--host", "0.0.0.0"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    async def is_ready(self) -> bool:
        """Whether it says so."""
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"{self.url}/health/ready")).status_code == 200
            except httpx.TransportError:
                return False

    def stop(self) -> int:
        """Ask it to end; gives its status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ServerProcess]:
    """The server with the built-in model."""
    running = ServerProcess(tmp_path / "server.log")
    yield running
    running.process.kill()
    running.process.wait()


async def test_a_worker_indexes_through_the_real_server(
    process: ServerProcess, settings: Settings, folder: Path, tmp_path: Path
) -> None:
    """Its vectors are the model's own, who has no key gets none, and SIGTERM ends it."""
    await wait_until(process.is_ready)
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    ours = Settings(**{**values, "embedding_url": process.url, "embedding_internal_key": KEY})
    async with (
        open_parts(ours, configured_endpoints(ours)) as parts,
        open_client(parts) as api,
        running_worker(parts),
    ):
        ended = await api.wait(await api.create("notes", folder))
        hits = await api.search("notes", "mammals of the sea", mode="dense", limit=1)
    async with client_of(process.url, model="wordllama") as client:
        vectors = await client.embed_documents(["whales", "rockets"])
    async with client_of(process.url, model="wordllama", internal_key=None) as client:
        with pytest.raises(EmbedderRefusesAccessError):
            await client.embed_documents(["whales"])
    status = process.stop()

    assert (ended["state"], ended["result"]["documents"]) == ("completed", 3)
    assert ended["result"]["cache"]["misses"] == ended["result"]["chunks"]
    assert hits[0]["path"] == "guides/whales.md"
    assert np.allclose(vectors, embed_texts(["whales", "rockets"]), atol=1e-5)
    assert status == 0, (tmp_path / "server.log").read_text()


async def test_the_real_server_serves_a_model_of_a_folder(tmp_path: Path) -> None:
    """FASTEMBED_PATH and EMBEDDING_MODEL choose it."""
    pytest.importorskip("fastembed", reason="the extra 'fastembed' is not installed")
    folder = write_model(tmp_path / "model")
    server = ServerProcess(
        tmp_path / "server.log",
        VECLOOM_FASTEMBED_PATH=str(folder),
        VECLOOM_FASTEMBED_MODEL="words",
        VECLOOM_EMBEDDING_MODEL="words",
    )
    try:
        await wait_until(server.is_ready)
        async with client_of(server.url, model="words") as client:
            vectors = await client.embed_documents(["whales swim", "rockets"])
    finally:
        status = server.stop()

    assert vectors.shape == (2, 8)
    assert status == 0


async def test_a_model_that_is_not_there_ends_the_server_with_a_reason(tmp_path: Path) -> None:
    """One line with a code and what to do, and exit code 1."""
    server = ServerProcess(
        tmp_path / "server.log", VECLOOM_FASTEMBED_PATH=str(tmp_path), VECLOOM_EMBEDDING_MODEL="fastembed"
    )

    status = await asyncio.to_thread(server.process.wait, 30)

    assert status == 1
    assert "[model_not_loaded]" in (tmp_path / "server.log").read_text()
