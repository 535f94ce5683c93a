"""The line in front of a model, over HTTP to a server that has limits and faults."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest

from app.domain.errors import (
    EmbedderRejectedError,
    EmbedderUnavailableError,
    LeaseLostError,
    UnknownModelError,
)
from app.embedders.http import HttpEmbedder
from app.pipeline.embedding_line import EmbeddingLine
from app.pipeline.fair_queue import Customer
from tests.harness import wait_until
from tests.model_server import FakeModelServer

DIMENSION = 16


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    """A model server."""
    with FakeModelServer(dimension=DIMENSION).running() as running:
        yield running


@asynccontextmanager
async def line_to(server: FakeModelServer, **bounds: int) -> AsyncIterator[EmbeddingLine]:
    """A line to a server, closed when the block ends."""
    embedder = HttpEmbedder(server.url, model=server.model, timeout_seconds=5)
    wanted = {"max_texts": 10, "max_tokens": 10_000, "concurrency": 4, **bounds}
    line = EmbeddingLine(embedder, **wanted, first_pause_seconds=0.01)
    try:
        yield line
    finally:
        await line.aclose()
        await embedder.aclose()


class Caller:
    """An operation that embeds, and what it is told."""

    def __init__(self, user: UUID | None = None) -> None:
        self.told: list[str | None] = []
        self.lease_lost = False
        self.customer = Customer(
            user=user or uuid4(),
            operation=uuid4(),
            go_on=self._go_on,
            on_wait=self._hear,
            busy=lambda _: nullcontext(),
        )

    def _go_on(self) -> None:
        if self.lease_lost:
            raise LeaseLostError("lost")

    async def _hear(self, why: str | None) -> None:
        self.told.append(why)

    async def embed(self, line: EmbeddingLine, texts: list[str]) -> tuple[Any, dict[int, Any]]:
        """Embed texts, one token a word."""
        tokens = [len(text.split()) for text in texts]
        return await line.embed(self.customer, texts, tokens, dimension=DIMENSION)


def texts_of(name: str, count: int) -> list[str]:
    """Different texts of two to nine words."""
    return [f"{name} {number}" + " more" * (number % 8) for number in range(count)]


def expected_of(server: FakeModelServer, texts: list[str]) -> Any:
    """What the server's vectors of texts are, normalised."""
    vectors = np.stack([server.vector_of(text) for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


async def test_texts_of_several_callers_share_full_requests(server: FakeModelServer) -> None:
    """Many small calls become few requests, each caller gets its own vectors in its own order."""
    server.delay_seconds = 0.05
    callers = [Caller() for _ in range(20)]
    async with line_to(server, concurrency=1) as line:
        texts = [texts_of(f"caller{number}", 3) for number in range(20)]
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(caller.embed(line, mine)) for caller, mine in zip(callers, texts, strict=True)]

    assert sum(server.batches) == 60
    assert len(server.batches) <= 8
    for call, mine in zip(calls, texts, strict=True):
        vectors, refused = call.result()
        assert not refused
        assert np.allclose(vectors, expected_of(server, mine), atol=1e-6)


async def test_what_comes_meanwhile_fills_a_request_that_has_room(server: FakeModelServer) -> None:
    """A rest that was packed when there was no more is not sent by itself once there is."""
    server.held = True
    async with line_to(server, concurrency=1) as line, asyncio.TaskGroup() as group:
        first = group.create_task(Caller().embed(line, texts_of("first", 14)))
        await wait_until(lambda: _is_open(server))
        second = group.create_task(Caller().embed(line, texts_of("second", 6)))
        await asyncio.sleep(0)
        server.held = False

    assert server.batches == [10, 10]
    assert np.allclose(first.result()[0], expected_of(server, texts_of("first", 14)), atol=1e-6)
    assert np.allclose(second.result()[0], expected_of(server, texts_of("second", 6)), atol=1e-6)


async def test_a_lone_text_is_sent_at_once(server: FakeModelServer) -> None:
    """Nothing waits for company while a slot is idle."""
    async with line_to(server) as line:
        await Caller().embed(line, ["warm"])
        started = time.monotonic()
        await Caller().embed(line, ["alone"])

    assert time.monotonic() - started < 0.1


async def test_like_lengths_share_a_request(server: FakeModelServer) -> None:
    """Within a window, the padding of a request is small."""
    server.delay_seconds = 0.02
    short, long = [f"s{number}" for number in range(40)], [f"l{number}" + " word" * 50 for number in range(40)]
    mixed = [text for pair in zip(short, long, strict=True) for text in pair]
    async with line_to(server, concurrency=1, max_texts=20) as line:
        await Caller().embed(line, mixed)

    starts = np.cumsum([0, *server.batches])
    batches = [server.texts[start:end] for start, end in pairwise(starts)]
    mixed_batches = [batch for batch in batches if len({len(text.split()) for text in batch}) > 1]
    assert len(mixed_batches) <= 1


async def test_a_small_operation_is_not_starved_by_a_big_one(server: FakeModelServer) -> None:
    """20 texts beside 20 000 take about their own share: a few requests, not a thousand."""
    server.seconds_per_text = 0.002
    async with line_to(server, concurrency=2) as line:
        big = asyncio.create_task(Caller().embed(line, texts_of("big", 20_000)))
        await wait_until(lambda: _has(server, requests=6))
        before = len(server.batches)
        started = time.monotonic()
        vectors, _ = await asyncio.wait_for(Caller().embed(line, texts_of("small", 20)), 10)
        seconds, requests = time.monotonic() - started, len(server.batches) - before
        big.cancel()

    # before it go two open requests and a window; in its own window half is the other's
    assert requests <= 2 + 4 + 4 + 2
    assert seconds < 1.0
    assert np.isfinite(vectors).all()


async def _has(server: FakeModelServer, *, requests: int) -> bool:
    return len(server.batches) >= requests


async def test_a_cancelled_caller_takes_only_its_texts_out(server: FakeModelServer) -> None:
    """What is not sent yet is never sent; the neighbour in the same window gets its vectors."""
    server.delay_seconds = 0.05
    async with line_to(server, concurrency=1) as line:
        gone = asyncio.create_task(Caller().embed(line, texts_of("gone", 200)))
        stays = asyncio.create_task(Caller().embed(line, texts_of("stays", 30)))
        await wait_until(lambda: _has(server, requests=1))
        gone.cancel()
        vectors, _ = await stays

    with pytest.raises(asyncio.CancelledError):
        await gone
    assert np.allclose(vectors, expected_of(server, texts_of("stays", 30)), atol=1e-6)
    assert sum(text.startswith("gone") for text in server.texts) <= 60


async def test_a_request_nobody_waits_for_is_given_up(server: FakeModelServer) -> None:
    """When its only caller is gone, its slot is free at once."""
    server.held = True
    async with line_to(server, concurrency=1) as line:
        gone = asyncio.create_task(Caller().embed(line, ["gone"]))
        await wait_until(lambda: _is_open(server))
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        server.held = False
        vectors, _ = await asyncio.wait_for(Caller().embed(line, ["next"]), 2)

    assert np.allclose(vectors, expected_of(server, ["next"]), atol=1e-6)


async def _is_open(server: FakeModelServer) -> bool:
    return server.open > 0


async def test_the_servers_batch_limit_is_learnt(server: FakeModelServer) -> None:
    """After the first refusals every request fits, and is not much smaller than it could be."""
    server.batch_limit = 32
    async with line_to(server, max_texts=100, concurrency=2) as line:
        await Caller().embed(line, texts_of("first", 400))
        refusals = len(server.refused)
        server.batches.clear()
        await Caller().embed(line, texts_of("second", 400))

    assert 1 <= refusals <= 8
    assert len(server.refused) == refusals
    assert max(server.batches) == 25


async def test_the_servers_token_limit_is_learnt(server: FakeModelServer) -> None:
    """Where as many texts have passed before, it is the tokens that are fewer from then on."""
    server.token_limit = 60
    async with line_to(server, max_texts=20, concurrency=1) as line:
        await Caller().embed(line, [f"s{number}" for number in range(20)])
        await Caller().embed(line, [f"l{number} a b c d e f g h i" for number in range(40)])
        refusals = len(server.refused)
        await Caller().embed(line, [f"m{number} a b c d e f g h i" for number in range(40)])
        server.batches.clear()
        await Caller().embed(line, [f"t{number}" for number in range(20)])

    assert refusals >= 1
    assert len(server.refused) == refusals
    assert server.batches == [20]


async def test_one_bad_text_is_found_and_teaches_no_limit(server: FakeModelServer) -> None:
    """It alone is refused; later requests are as large as ever."""
    server.poison, server.poison_status = "bad 7", 422
    async with line_to(server, max_texts=16) as line:
        _, refused = await Caller().embed(line, texts_of("bad", 16))
        server.batches.clear()
        await Caller().embed(line, texts_of("good", 16))

    assert refused.keys() == {7}
    assert server.batches == [16]


async def test_a_text_the_server_dies_of_costs_one_text(server: FakeModelServer) -> None:
    """A text that is answered with 500 again and again is blamed once others are embedded; nobody else fails."""
    server.poison, server.poison_status = "bad 3", 500
    caller, other = Caller(), Caller()
    async with line_to(server) as line, asyncio.TaskGroup() as group:
        bad = group.create_task(caller.embed(line, texts_of("bad", 8)))
        good = group.create_task(other.embed(line, texts_of("good", 100)))

    assert {index: type(error) for index, error in bad.result()[1].items()} == {3: EmbedderRejectedError}
    assert good.result()[1] == {}


async def test_an_overloaded_server_gets_fewer_requests(server: FakeModelServer) -> None:
    """429 with Retry-After pauses the line, says why, and what comes back was lost by nobody."""
    server.delay_seconds = 0.01
    server.busy_above, server.retry_after = 1, "0.05"
    caller = Caller()
    async with line_to(server, concurrency=8) as line:
        vectors, refused = await caller.embed(line, texts_of("many", 300))
        await wait_until(lambda: _was_told(caller))

    assert not refused
    assert np.allclose(vectors, expected_of(server, texts_of("many", 300)), atol=1e-6)
    assert 429 in server.refused
    assert len(server.refused) < 20
    assert "429" in str(caller.told[0])


async def _was_told(caller: Caller) -> bool:
    return bool(caller.told) and caller.told[-1] is None


async def test_retry_after_is_kept_to(server: FakeModelServer) -> None:
    """No request comes before the time the server asked for, from nobody."""
    server.fail_next(503, headers={"Retry-After": "1"})
    async with line_to(server) as line:
        caller = Caller()
        first = asyncio.create_task(caller.embed(line, ["one"]))
        await wait_until(lambda: _is_waiting(caller))
        started, requests = time.monotonic(), server.requests
        second = asyncio.create_task(Caller().embed(line, ["two"]))
        await asyncio.wait({first, second}, timeout=0.6)
        early = server.requests - requests
        await asyncio.wait({first, second}, timeout=5)

    assert early == 0
    assert (first.exception(), second.exception()) == (None, None)
    assert time.monotonic() - started >= 0.6


async def _is_waiting(caller: Caller) -> bool:
    return bool(caller.told)


async def test_a_server_that_stays_away_is_everybodys_error() -> None:
    """After several tries all callers get it."""
    server = FakeModelServer(dimension=DIMENSION)
    with server.running():
        pass
    async with line_to(server) as line:
        calls = [asyncio.create_task(Caller().embed(line, texts_of(name, 30))) for name in ("one", "two")]
        done, _ = await asyncio.wait(calls, timeout=20)

    assert len(done) == 2
    assert all(isinstance(call.exception(), EmbedderUnavailableError) for call in calls)


async def test_who_lost_its_lease_does_not_wait_on(server: FakeModelServer) -> None:
    """After a pause it gets its own error; its neighbour goes on."""
    server.fail_next(503, headers={"Retry-After": "0.2"})
    loser, winner = Caller(), Caller()
    loser.lease_lost = True
    async with line_to(server) as line:
        calls = [asyncio.create_task(caller.embed(line, ["text"])) for caller in (loser, winner)]
        await asyncio.wait(calls, timeout=5)

    assert isinstance(calls[0].exception(), LeaseLostError)
    assert calls[1].exception() is None


async def test_a_refusal_of_everything_blames_no_text(server: FakeModelServer) -> None:
    """An unknown model is the call's error, not its texts'."""
    async with line_to(server) as line:
        await Caller().embed(line, ["fine"])
        server.model = "another"
        with pytest.raises(UnknownModelError):
            await Caller().embed(line, texts_of("any", 30))
        server.model = "fake-model"
        vectors, refused = await Caller().embed(line, ["fine again"])

    assert not refused
    assert np.isfinite(vectors).all()
