"""Searches go before writes in the embedded vector server."""

import asyncio
import threading
from contextlib import nullcontext

import pytest
from starlette.requests import ClientDisconnect, Request

from app.embedded.vector_turns import Searches, Then

PATIENCE_SECONDS = 30.0


def test_a_write_waits_for_the_searches_under_way() -> None:
    """One search after the other, and the write goes on after the last."""
    searches = Searches()
    searches.LONGEST_SECONDS = PATIENCE_SECONDS
    writing, gone_on = threading.Event(), threading.Event()

    def write() -> None:
        writing.set()
        searches.give_way()
        gone_on.set()

    with searches.counted():
        thread = threading.Thread(target=write)
        thread.start()
        assert writing.wait(PATIENCE_SECONDS)
        with searches.counted():
            assert not gone_on.wait(0.05)
        assert not gone_on.wait(0.05)
    assert gone_on.wait(PATIENCE_SECONDS)
    thread.join()


def test_a_write_goes_on_though_there_is_always_a_search() -> None:
    """Not even a search that never ends holds writes up for good."""
    searches = Searches()
    with searches.counted():
        thread = threading.Thread(target=searches.give_way, daemon=True)
        thread.start()
        thread.join(PATIENCE_SECONDS)

        assert not thread.is_alive()


def test_a_search_that_fails_is_no_longer_counted() -> None:
    """Its error goes on to the caller."""
    searches = Searches()
    searches.LONGEST_SECONDS = PATIENCE_SECONDS
    with pytest.raises(StopIteration), searches.counted():
        next(iter(()))
    searches.give_way()


@pytest.mark.parametrize("is_there", [True, False])
async def test_what_nobody_waits_for_is_not_written(*, is_there: bool) -> None:
    """The client may have deleted meanwhile what this would write."""

    async def receive() -> dict[str, str]:
        if is_there:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    written: list[str] = []
    request = Request({"type": "http", "headers": []}, receive)

    with nullcontext() if is_there else pytest.raises(ClientDisconnect):
        await Then(lambda: written.append("points")).do(request)

    assert written == (["points"] if is_there else [])
