"""A checkup answers in time, and costs a part that hangs no more than one question."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from app.domain.checks import Check, Probe
from app.domain.errors import VectorStoreUnavailableError
from app.operations.checkup import Checkup

GOOD = Check(name="good", ok=True, detail="answers")


def probe(name: str, look: Callable[[], Awaitable[Sequence[Check]]]) -> Probe:
    """A probe with a fix."""
    return Probe(name=name, look=look, fix=f"mend {name}")


async def answer() -> Sequence[Check]:
    """Well."""
    return [GOOD]


async def test_what_hangs_is_asked_once_and_named_each_time() -> None:
    """The others answer meanwhile; once it answers again it is asked again."""
    asked, released = 0, asyncio.Event()

    async def hang() -> Sequence[Check]:
        nonlocal asked
        asked += 1
        await released.wait()
        return [Check(name="slow", ok=True, detail="answers")]

    checkup = Checkup([probe("slow", hang), probe("good", answer)], timeout_seconds=0.05)
    late = [await checkup.run() for _ in range(3)]
    asked_while_it_hung = asked
    released.set()
    await checkup.run()
    again = await checkup.run()

    expected = Check(name="slow", ok=False, detail="does not answer within 0.05 s", fix="mend slow")
    assert late == [[expected, GOOD]] * 3
    assert asked_while_it_hung == 1
    assert asked > 1
    assert [check.ok for check in again] == [True, True]


async def test_whatever_a_probe_raises_is_a_check() -> None:
    """Our own errors in their words, any other by its type alone."""

    async def refuse() -> Sequence[Check]:
        raise VectorStoreUnavailableError("the vector store does not answer (503)")

    async def break_down() -> Sequence[Check]:
        raise KeyError("hunter2")

    checks = await Checkup([probe("known", refuse), probe("bug", break_down)], timeout_seconds=5).run()

    assert [(check.ok, check.detail, check.fix) for check in checks] == [
        (False, "the vector store does not answer (503)", "mend known"),
        (False, "does not answer (KeyError)", "mend bug"),
    ]


async def test_closing_waits_for_no_probe() -> None:
    """One that does not even let itself be cancelled is left behind."""
    released = asyncio.Event()

    async def cling() -> Sequence[Check]:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return [GOOD]

    checkup = Checkup([probe("clinging", cling)], timeout_seconds=0.01)
    await checkup.run()

    async with asyncio.timeout(30):
        await checkup.aclose()
        answers = await checkup.run()
    released.set()

    assert [check.ok for check in answers] == [False]
