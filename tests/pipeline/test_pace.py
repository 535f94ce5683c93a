"""How many requests are sent at once."""

from collections.abc import Callable
from itertools import pairwise

from app.pipeline.pace import HOLD_AFTER_LOSS, Pace


class FakeClock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def run(pace: Pace, clock: FakeClock, rate: Callable[[int], float], *, requests: int) -> list[int]:
    """Answer requests of 100 tokens as a model would that does ``rate(limit)`` tokens a second; the limits seen."""
    seen = []
    for _ in range(requests):
        clock.now += 100 / rate(pace.limit)
        pace.succeed(100, full=True)
        seen.append(pace.limit)
    return seen


def test_it_grows_while_that_pays() -> None:
    """A model that does twice as much with twice as many requests gets as many as are allowed."""
    clock = FakeClock()
    pace = Pace(16, clock=clock)

    run(pace, clock, lambda limit: 100.0 * limit, requests=200)

    assert pace.limit == 16


def test_a_step_that_does_not_pay_is_taken_back() -> None:
    """A model that is busy with two requests does not get more of them for long."""
    clock = FakeClock()
    pace = Pace(16, clock=clock)

    seen = run(pace, clock, lambda _: 200.0, requests=400)

    assert pace.limit in (2, 3)
    assert sum(limit > 2 for limit in seen) < len(seen) / 3


def test_a_step_that_harms_is_undone_and_more() -> None:
    """A model that thrashes with more than four requests is given less than before the step."""
    clock = FakeClock()
    pace = Pace(16, clock=clock)

    seen = run(pace, clock, lambda limit: 100.0 * limit if limit <= 4 else 50.0, requests=30)

    assert 8 in seen
    assert pace.limit < 4


def test_a_refusal_halves_and_success_raises_by_one() -> None:
    """After an overload it never doubles again."""
    clock = FakeClock()
    pace = Pace(16, clock=clock)
    run(pace, clock, lambda limit: 100.0 * limit, requests=200)
    clock.now += 1
    pace.back_off(clock.now)
    halved = pace.limit

    seen = run(pace, clock, lambda limit: 100.0 * limit, requests=500)

    assert halved == 8
    assert seen[-1] == 16
    assert all(after - before <= 1 for before, after in pairwise(seen))


def test_refusals_of_one_moment_count_once() -> None:
    """Four requests that were sent together and all refused are one piece of news; the limit stays at least one."""
    clock = FakeClock()
    pace = Pace(16, clock=clock)
    run(pace, clock, lambda limit: 100.0 * limit, requests=200)
    started = clock.now

    for _ in range(4):
        clock.now += 0.1
        pace.back_off(started)
    once = pace.limit
    for _ in range(10):
        clock.now += 1
        pace.back_off(clock.now)

    assert once == 8
    assert pace.limit == 1


def test_what_is_not_full_says_nothing() -> None:
    """Requests of an idle line neither raise nor lower."""
    clock = FakeClock()
    pace = Pace(16, clock=clock)

    for _ in range(100 * HOLD_AFTER_LOSS):
        clock.now += 1
        pace.succeed(100, full=False)

    assert pace.limit == 2
