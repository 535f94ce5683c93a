"""Cross-encoders over HTTP: both contracts, and everything that can be wrong with an answer."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from app.domain.errors import DomainError, InvalidInputError
from app.domain.reranker_errors import RerankerGarbageError, RerankerRejectedError, RerankerUnavailableError
from app.embedders.patient import Patience, PatientReranker
from app.embedders.reranker import BATCH, MOST_CHARACTERS, HttpReranker, rerank_address
from tests.reranker_server import FAULTS, FakeReranker

TEXTS = ["bread in the oven", "a whale in the ocean", "the ocean"]
QUERY = "whale ocean"
SCORES = [0.0, 1.0, 0.5]


@pytest.fixture
def server() -> Iterator[FakeReranker]:
    """A server that speaks TEI's contract."""
    with FakeReranker().running() as running:
        yield running


@asynccontextmanager
async def asking(
    url: str, *, model: str | None = None, api_key: str | None = None, timeout_seconds: float = 10.0
) -> AsyncIterator[HttpReranker]:
    """A reranker at a URL."""
    reranker = HttpReranker(url, model=model, api_key=api_key, timeout_seconds=timeout_seconds)
    try:
        yield reranker
    finally:
        await reranker.aclose()


@pytest.mark.parametrize("model", [None, "bge-reranker"])
async def test_each_text_gets_its_score(model: str | None) -> None:
    """In the order of the texts, with and without a model's name, which decides how it is asked."""
    with FakeReranker(model=model, api_key="s3cret").running() as server:
        async with asking(server.url, model=model, api_key="s3cret\n") as reranker:
            scores = await reranker.score(QUERY, TEXTS)
            nothing = await reranker.score(QUERY, [])

    assert (list(scores), list(nothing)) == (SCORES, [])
    expected = {"query": QUERY, "texts": TEXTS, "truncate": True}
    assert server.bodies == [expected if model is None else {"model": model, "query": QUERY, "documents": TEXTS}]


async def test_many_texts_are_several_requests(server: FakeReranker) -> None:
    """Scores come together in the order of the texts."""
    texts = [" ".join(["whale"] * (number % 2) + [f"text{number}"]) for number in range(2 * BATCH + 5)]
    async with asking(server.url) as reranker:
        scores = await reranker.score("whale", texts)

    assert list(scores) == [number % 2 for number in range(len(texts))]
    assert sorted(len(body["texts"]) for body in server.bodies) == [5, BATCH, BATCH]


async def test_a_server_that_takes_fewer_texts_gets_fewer(server: FakeReranker) -> None:
    """Also the next time, without asking for too much first."""
    server.batch_limit = 3
    texts = [f"whale {number}" for number in range(10)]
    async with asking(server.url) as reranker:
        first = await reranker.score("whale 7", texts)
        server.bodies.clear()
        second = await reranker.score("whale 7", texts)

    assert list(first) == list(second) == [1.0 if number == 7 else 0.5 for number in range(10)]
    assert max(len(body["texts"]) for body in server.bodies) <= 3


async def test_texts_are_cut_and_can_be_written(server: FakeReranker) -> None:
    """A lone surrogate is no JSON, and a text without an end would be read by nobody."""
    async with asking(server.url) as reranker:
        await reranker.score("a\ud800", ["b\ud800", "x" * (MOST_CHARACTERS + 1)])

    [body] = server.bodies
    assert (body["query"], body["texts"][0], len(body["texts"][1])) == ("a?", "b?", MOST_CHARACTERS)


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_answer_that_cannot_be_used_is_an_error(server: FakeReranker, fault: str) -> None:
    """Never half of the scores, never one that is no number."""
    server.fault = fault
    async with asking(server.url) as reranker:
        with pytest.raises(RerankerGarbageError):
            await reranker.score(QUERY, TEXTS)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, RerankerUnavailableError) for status in (408, 424, 425, 429, 500, 502, 503)),
        *((status, RerankerRejectedError) for status in (302, 400, 401, 403, 404)),
    ],
)
async def test_a_refusal_says_whether_trying_again_may_help(
    server: FakeReranker, status: int, kind: type[DomainError]
) -> None:
    """By its status; how long to wait is what the server says."""
    server.statuses.append(status)
    server.retry_after = "7"
    async with asking(server.url) as reranker:
        with pytest.raises(kind) as caught:
            await reranker.score(QUERY, TEXTS)

    if isinstance(caught.value, RerankerUnavailableError):
        assert caught.value.retry_after_seconds == 7


async def test_a_single_text_that_is_too_long_is_refused(server: FakeReranker) -> None:
    """It is not halved for ever."""
    server.batch_limit = 0
    async with asking(server.url) as reranker:
        with pytest.raises(RerankerRejectedError):
            await reranker.score(QUERY, TEXTS[:2])


@pytest.mark.parametrize("is_slow_to_begin", [True, False])
async def test_a_slow_answer_is_none(server: FakeReranker, *, is_slow_to_begin: bool) -> None:
    """Whether it does not begin or does not end; the time is for all of a query's texts."""
    server.delay_seconds, server.drips = (30.0, False) if is_slow_to_begin else (0.0, True)
    async with asking(server.url, timeout_seconds=0.3) as reranker:
        with pytest.raises(RerankerUnavailableError):
            await reranker.score(QUERY, TEXTS * 20)


async def test_an_operation_waits_for_a_reranker_that_is_busy(server: FakeReranker) -> None:
    """As long as it is told to, and says why; another error is raised at once."""
    server.statuses += [503, 429]
    server.retry_after = "0.01"
    told: list[bool] = []

    async def tell(why: str | None) -> None:
        told.append(why is not None)

    async with asking(server.url) as reranker:
        patience = Patience(RerankerUnavailableError, go_on=lambda: None, on_wait=tell)
        patient = PatientReranker(reranker, patience)
        scores = await patient.score(QUERY, TEXTS)
        server.statuses.append(400)
        with pytest.raises(RerankerRejectedError):
            await patient.score(QUERY, TEXTS)

    assert list(scores) == SCORES
    assert told == [True, True, False]
    assert len(server.bodies) == 4


async def test_nobody_there_is_unavailable() -> None:
    """A connection that is refused."""
    with FakeReranker().running() as gone:
        pass
    async with asking(gone.url) as reranker:
        with pytest.raises(RerankerUnavailableError):
            await reranker.score(QUERY, TEXTS)


async def test_no_error_tells_a_secret() -> None:
    """Neither the key nor a password of the URL."""
    with FakeReranker(api_key="right").running() as server:
        async with asking(server.url, api_key="s3cret") as reranker:
            with pytest.raises(RerankerRejectedError) as caught:
                await reranker.score(QUERY, TEXTS)
    with pytest.raises(InvalidInputError) as wrong:
        rerank_address("ftp://me:s3cret@host", has_model=True)

    assert "s3cret" not in caught.value.message + wrong.value.message


@pytest.mark.parametrize(
    ("url", "has_model", "expected"),
    [
        ("http://tei:8080", False, "http://tei:8080/rerank"),
        ("http://tei:8080/", False, "http://tei:8080/rerank"),
        ("http://vllm", True, "http://vllm/v1/rerank"),
        ("http://vllm/v1/", True, "http://vllm/v1/rerank"),
        ("https://api.cohere.com/v2/rerank", True, "https://api.cohere.com/v2/rerank"),
        ("http://infinity:7997/rerank", True, "http://infinity:7997/rerank"),
        ("http://me:secret@host/models", False, "http://host/models/rerank"),
    ],
)
def test_a_base_or_the_whole_address_can_be_given(url: str, *, has_model: bool, expected: str) -> None:
    """What the server documents is enough."""
    assert str(rerank_address(url, has_model=has_model)) == expected
