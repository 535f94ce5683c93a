"""The HTTP embedder against a server that does what servers do."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest

from app.domain.errors import (
    DomainError,
    EmbedderBatchTooLargeError,
    EmbedderChangedError,
    EmbedderDimensionError,
    EmbedderGarbageError,
    EmbedderRefusesAccessError,
    EmbedderRejectedError,
    EmbedderUnavailableError,
    InvalidInputError,
    UnknownModelError,
)
from app.embedders.answer import decode_answer
from app.embedders.fingerprint import CANARY_TEXTS, check_canaries, take_canaries
from app.embedders.http import HttpEmbedder, embeddings_address
from app.processes.pool import ProcessPool
from tests.harness import wait_until
from tests.model_server import Encoding, FakeModelServer, Fault


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    """A model server without keys."""
    with FakeModelServer().running() as running:
        yield running


@asynccontextmanager
async def embedder_of(server: FakeModelServer, **options: Any) -> AsyncIterator[HttpEmbedder]:
    """An embedder over a server, closed when the block ends."""
    embedder = HttpEmbedder(server.url, **{"model": server.model, "timeout_seconds": 5, **options})
    try:
        yield embedder
    finally:
        await embedder.aclose()


async def test_rows_are_put_in_the_order_of_their_index(server: FakeModelServer) -> None:
    """A server may answer in any order as long as it says which row is whose."""
    server.shuffled = True
    texts = ["whales swim", "rockets fly", "bread bakes"]
    async with embedder_of(server) as embedder:
        vectors = await embedder.embed_documents(texts)

    expected = np.stack([server.vector_of(text) for text in texts])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(vectors, expected, atol=1e-6)


@pytest.mark.parametrize("encoding", [Encoding.FLOAT, Encoding.REJECT])
async def test_a_server_without_base64_gives_the_same_vectors(server: FakeModelServer, encoding: Encoding) -> None:
    """Whether it ignores base64 or refuses it, lists of numbers are read instead, and it is refused once only."""
    async with embedder_of(server) as embedder:
        expected = await embedder.embed_documents(["one", "two"])
    server.requests = 0
    server.encoding = encoding
    async with embedder_of(server) as embedder:
        vectors = [await embedder.embed_documents(["one", "two"]) for _ in range(3)]

    assert np.allclose(vectors, expected, atol=1e-6)
    assert server.requests == (3 if encoding is Encoding.FLOAT else 4)


async def test_a_proven_server_is_not_asked_twice(server: FakeModelServer) -> None:
    """After one base64 answer a refusal is about the texts, so it costs one request."""
    async with embedder_of(server) as embedder:
        await embedder.embed_documents(["one"])
        server.fail_next(400)
        server.requests = 0
        with pytest.raises(EmbedderRejectedError):
            await embedder.embed_documents(["two"])

    assert server.requests == 1


async def test_blank_texts_are_not_sent(server: FakeModelServer) -> None:
    """Servers refuse batches with a blank text; here it gets the first axis and the others their own vector."""
    async with embedder_of(server) as embedder:
        alone = await embedder.embed_documents(["whale"])
        mixed = await embedder.embed_documents(["", "whale", " \n"])
        nothing = await embedder.embed_documents([])

    assert np.array_equal(mixed[0], np.eye(1, 16, dtype=np.float32)[0])
    assert np.array_equal(mixed[0], mixed[2])
    assert np.allclose(mixed[1], alone[0])
    assert nothing.shape == (0, 16)
    assert server.texts == ["whale", "whale"]


async def test_prefixes_go_before_queries_and_documents(server: FakeModelServer) -> None:
    """Each kind of text gets the prefix its model was trained with."""
    async with embedder_of(server, query_prefix="query: ", document_prefix="passage: ") as embedder:
        await embedder.embed_documents(["a"])
        vector = await embedder.embed_query("b")

    assert server.texts == ["passage: a", "query: b"]
    assert vector.shape == (16,)


async def test_a_batch_beyond_the_limit_is_too_large(server: FakeModelServer) -> None:
    """The caller is told to split, and smaller batches pass."""
    server.batch_limit = 2
    async with embedder_of(server) as embedder:
        with pytest.raises(EmbedderBatchTooLargeError):
            await embedder.embed_documents(["a", "b", "c"])
        half = await embedder.embed_documents(["a", "b"])

    assert half.shape == (2, 16)
    assert server.batches == [2]


async def test_keys_travel_in_their_headers() -> None:
    """Both keys reach the server, without the line end their file had."""
    with FakeModelServer(api_key="open-secret", internal_key="inner-secret").running() as server:
        async with embedder_of(server, api_key="open-secret\n", internal_key="inner-secret\n") as embedder:
            vectors = await embedder.embed_documents(["text"])

    assert vectors.shape == (1, 16)


async def test_a_wrong_key_is_refused_without_telling_it() -> None:
    """The key is in no message."""
    with FakeModelServer(api_key="open-secret").running() as server:
        async with embedder_of(server, api_key="wrong-secret") as embedder:
            with pytest.raises(EmbedderRefusesAccessError) as caught:
                await embedder.embed_documents(["text"])

    assert "wrong-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, EmbedderRejectedError),
        (400, EmbedderRejectedError),
        (401, EmbedderRefusesAccessError),
        (403, EmbedderRefusesAccessError),
        (408, EmbedderUnavailableError),
        (413, EmbedderBatchTooLargeError),
        (422, EmbedderBatchTooLargeError),
        (424, EmbedderUnavailableError),
        (425, EmbedderUnavailableError),
        (502, EmbedderUnavailableError),
    ],
)
async def test_a_status_decides_the_error(server: FakeModelServer, status: int, error: type[DomainError]) -> None:
    """What passes is transient, too large is split, the rest is refused for good."""
    server.fail_next(status, times=2)
    async with embedder_of(server) as embedder:
        with pytest.raises(DomainError) as caught:
            await embedder.embed_documents(["text"])

    assert type(caught.value) is error


async def test_an_unknown_model_is_told_from_a_wrong_path(server: FakeModelServer) -> None:
    """404 with an error object is about the model; from a router that has no such path it is about the URL."""
    async with embedder_of(server, model="another") as embedder:
        with pytest.raises(UnknownModelError):
            await embedder.dimension()
    wrong = HttpEmbedder(f"{server.url}/elsewhere", model=server.model)
    with pytest.raises(EmbedderRefusesAccessError, match="URL"):
        await wrong.dimension()
    await wrong.aclose()


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7),
        ("-3", 0, 0),
        ("in an hour", 3000, 3600),
    ],
)
async def test_retry_after_is_seconds_or_a_date(
    server: FakeModelServer, header: str, least: float, most: float
) -> None:
    """Both forms HTTP allows become seconds, never less than none."""
    if header == "in an hour":
        header = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    server.fail_next(429, headers={"Retry-After": header})
    async with embedder_of(server) as embedder:
        with pytest.raises(EmbedderUnavailableError) as caught:
            await embedder.embed_documents(["text"])

    assert caught.value.retry_after_seconds is not None
    assert least <= caught.value.retry_after_seconds <= most


@pytest.mark.parametrize("header", ["soon", "nan", "inf"])
async def test_a_senseless_retry_after_is_none(server: FakeModelServer, header: str) -> None:
    """The caller then decides on its own."""
    server.fail_next(503, headers={"Retry-After": header})
    async with embedder_of(server) as embedder:
        with pytest.raises(EmbedderUnavailableError) as caught:
            await embedder.embed_documents(["text"])

    assert caught.value.retry_after_seconds is None


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in {Fault.CLOSE, Fault.DRIP}])
async def test_an_unusable_answer_is_garbage(server: FakeModelServer, fault: Fault) -> None:
    """Nothing that is not one finite vector of the right length per text gets through."""
    async with embedder_of(server, dimension=16) as embedder:
        server.spoil_next(fault)
        with pytest.raises(EmbedderGarbageError):
            await embedder.embed_documents(["one", "two"])
        after = await embedder.embed_documents(["one", "two"])

    assert after.shape == (2, 16)


async def test_one_wrong_length_is_forgotten(server: FakeModelServer) -> None:
    """A server whose first answer had the wrong length is understood again once its answers are right."""
    async with embedder_of(server) as embedder:
        server.spoil_next(Fault.WRONG_DIMENSION)
        await embedder.embed_query("whales")

        with pytest.raises(EmbedderDimensionError, match="16 dimensions instead of 15"):
            await embedder.embed_query("whales")
        right = await embedder.embed_query("whales")

    assert right.shape == (16,)


async def test_another_dimension_is_garbage_with_a_name(server: FakeModelServer) -> None:
    """The first answer fixes the dimension; a later one of another length says both."""
    async with embedder_of(server) as embedder:
        await embedder.dimension()
        server.spoil_next(Fault.WRONG_DIMENSION)
        with pytest.raises(EmbedderDimensionError, match="15 dimensions instead of 16"):
            await embedder.embed_documents(["one"])


@pytest.mark.parametrize("encoding", [Encoding.BASE64, Encoding.FLOAT])
async def test_a_large_answer_is_decoded_like_a_small_one(encoding: Encoding) -> None:
    """Answers of megabytes are decoded off the loop, with the same result."""
    texts = [f"text {number}" for number in range(200)]
    with FakeModelServer(dimension=1024, encoding=encoding).running() as server:
        async with embedder_of(server) as embedder:
            together = await embedder.embed_documents(texts)
            last = await embedder.embed_documents(texts[-1:])

    assert together.shape == (200, 1024)
    assert np.allclose(together[-1], last[0], atol=1e-6)


@pytest.mark.parametrize("encoding", [Encoding.BASE64, Encoding.FLOAT])
async def test_a_large_answer_does_not_hold_up_the_loop(encoding: Encoding) -> None:
    """100 vectors of 1024 numbers take the loop's thread a few milliseconds, also as lists of numbers."""
    texts = [f"text {number}" for number in range(100)]
    processes = ProcessPool(1, memory_bytes=2**32, preload=("app.embedders.answer",))
    await processes.start()
    with FakeModelServer(dimension=1024, encoding=encoding).running() as server:
        async with embedder_of(server, processes=processes) as embedder:
            expected = await embedder.embed_documents(texts)
            started = time.thread_time()
            vectors = await embedder.embed_documents(texts)
            busy = time.thread_time() - started
    await processes.aclose()

    assert np.array_equal(vectors, expected)
    assert busy < 0.02


async def test_garbage_is_garbage_in_a_child_too() -> None:
    """A large answer that cannot be used has the same error wherever it is read."""
    processes = ProcessPool(1, memory_bytes=2**32)
    await processes.start()
    with FakeModelServer(dimension=1024, encoding=Encoding.FLOAT).running() as server:
        async with embedder_of(server, processes=processes) as embedder:
            server.spoil_next(Fault.MISSING_ROW)
            with pytest.raises(EmbedderGarbageError):
                await embedder.embed_documents([f"text {number}" for number in range(100)])
    await processes.aclose()


async def test_a_reset_connection_is_unavailable() -> None:
    """A server that resets the connection may be asked again."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    listener = await asyncio.start_server(reset, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    embedder = HttpEmbedder(f"http://127.0.0.1:{port}/v1", model="any", timeout_seconds=5)
    with pytest.raises(EmbedderUnavailableError):
        await embedder.embed_documents(["one"])
    await embedder.aclose()
    listener.close()
    await listener.wait_closed()


async def test_as_many_connections_are_kept_as_are_used(server: FakeModelServer) -> None:
    """Eight requests at once, twice, open eight connections and not sixteen."""
    server.delay_seconds = 0.05
    async with embedder_of(server, concurrency=8) as embedder:
        for _ in range(2):
            async with asyncio.TaskGroup() as group:
                for number in range(8):
                    group.create_task(embedder.embed_documents([f"text {number}"]))

    assert server.peak == 8
    assert len(server.clients) == 8


async def test_a_closed_connection_is_unavailable(server: FakeModelServer) -> None:
    """A server that drops the connection in the middle of an answer may be asked again."""
    async with embedder_of(server) as embedder:
        server.spoil_next(Fault.CLOSE)
        with pytest.raises(EmbedderUnavailableError):
            await embedder.embed_documents(["one"])
        after = await embedder.embed_documents(["one"])

    assert after.shape == (1, 16)


async def test_no_server_is_unavailable() -> None:
    """A refused connection is transient."""
    server = FakeModelServer()
    with server.running():
        pass
    async with embedder_of(server) as embedder:
        with pytest.raises(EmbedderUnavailableError):
            await embedder.dimension()


async def test_a_dripping_answer_ends_at_the_timeout(server: FakeModelServer) -> None:
    """The timeout is for the whole answer, not for each of its bytes."""
    server.spoil_next(Fault.DRIP)
    async with embedder_of(server, timeout_seconds=0.3) as embedder:
        with pytest.raises(EmbedderUnavailableError, match=r"within 0\.3 s"):
            await embedder.embed_documents(["one"])


async def test_a_cancelled_request_is_dropped(server: FakeModelServer) -> None:
    """Cancelling the caller closes its connection, and the next request works."""
    server.held = True
    async with embedder_of(server) as embedder:
        request = asyncio.create_task(embedder.embed_documents(["one"]))
        await wait_until(lambda: _holds(server, open_requests=1), seconds=5)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await wait_until(lambda: _holds(server, open_requests=0), seconds=5)
        server.held = False
        after = await embedder.embed_documents(["one"])

    assert after.shape == (1, 16)


async def _holds(server: FakeModelServer, *, open_requests: int) -> bool:
    return server.open == open_requests


async def test_a_wrong_length_once_learnt_does_not_condemn_a_model(server: FakeModelServer) -> None:
    """An embedder whose first answer was the wrong one finds the model unchanged as soon as it is right again."""
    async with embedder_of(server) as embedder:
        _, canaries = await take_canaries(embedder)
    server.dimension = 15
    async with embedder_of(server) as newcomer:
        await newcomer.dimension()
        server.dimension = 16

        await check_canaries(newcomer, canaries, dimension=16)


async def test_canaries_notice_another_model(server: FakeModelServer) -> None:
    """Other vectors and another dimension are both `embedder_changed`, also for an embedder that knew the old one."""
    async with embedder_of(server) as embedder:
        fingerprint, canaries = await take_canaries(embedder)
        again, _ = await take_canaries(embedder)
        await check_canaries(embedder, canaries, 16)
        server.salt = "retrained"
        with pytest.raises(EmbedderChangedError):
            await check_canaries(embedder, canaries, 16)
        server.salt, server.dimension = "", 24
        with pytest.raises(EmbedderChangedError):
            await check_canaries(embedder, canaries, 16)
    async with embedder_of(server) as fresh:
        with pytest.raises(EmbedderChangedError):
            await check_canaries(fresh, canaries, 16)

    assert fingerprint == again
    assert len(canaries) == len(CANARY_TEXTS) * 16 * 4


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h:1", "http://h:1/v1/embeddings"),
        ("http://h:1/v1/", "http://h:1/v1/embeddings"),
        ("https://h/v1/embeddings", "https://h/v1/embeddings"),
        ("https://h/api/v3", "https://h/api/v3/embeddings"),
        ("https://me:secret@h/v1?version=2", "https://h/v1/embeddings?version=2"),
    ],
)
def test_a_base_url_becomes_the_endpoint(url: str, address: str) -> None:
    """With or without ``/v1`` and ``/embeddings``, and never with a password."""
    assert str(embeddings_address(url)) == address


@pytest.mark.parametrize("url", ["", "h:1/v1", "ftp://h/v1", "http://", "http://u:secret@h:port"])
def test_a_url_that_cannot_work_is_refused_at_once(url: str) -> None:
    """The error comes at the start, not as a server that never answers, and repeats no password."""
    with pytest.raises(InvalidInputError) as caught:
        HttpEmbedder(url, model="m")

    assert "secret" not in caught.value.message


def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it() -> None:
    """The HTTP library would quote the key in its own error."""
    with pytest.raises(InvalidInputError) as caught:
        HttpEmbedder("http://h/v1", model="m", api_key="sec\nret")

    assert "sec" not in caught.value.message


@pytest.mark.parametrize(
    "content",
    [b"[]", b"null", b'{"data": [1]}', b'{"data": [{"index": 0}]}', b'{"data": [{"index": 0, "embedding": [null]}]}',
     b'{"data": [{"index": 0, "embedding": [1e300]}]}', b'{"data": [{"index": "0", "embedding": [1]}]}',
     b'{"data": [{"index": 0, "embedding": ""}]}', b'{"data": [{"index": 0, "embedding": 1}]}'],
)  # fmt: skip
def test_no_shape_of_json_breaks_the_decoder(content: bytes) -> None:
    """Whatever the JSON is, it is garbage and nothing else."""
    with pytest.raises(EmbedderGarbageError):
        decode_answer(content, 1)
