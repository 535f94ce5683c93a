"""What workers say to each other of the lanes of an operation."""

from collections.abc import Sequence
from uuid import UUID, uuid4

import orjson

from app.bootstrap import Parts
from app.domain.operations import LaneChange
from app.jobs.queue import control_channel
from app.jobs.worker import Ears, listening
from app.pipeline.lane_signals import LaneSignals
from tests.harness import wait_until


class Heard:
    """What a worker has heard."""

    def __init__(self) -> None:
        self.said: list[object] = []
        self.ears = Ears(on_wake=self._wake, on_poke=self.said.append, on_lanes=self._lanes)

    def _wake(self, job_ids: Sequence[str]) -> None:
        self.said.append(list(job_ids))

    def _lanes(self, operation_id: UUID, change: LaneChange) -> None:
        self.said.append((operation_id, change))

    async def is_listening(self) -> bool:
        """Whether it has begun, which is when it looks for what was said before."""
        return self.said == [[]]


async def test_every_worker_hears_of_lanes(parts: Parts) -> None:
    """That they are wanted, and that one has ended."""
    heard, operation = Heard(), uuid4()
    async with listening(parts.redis, namespace=parts.settings.redis_namespace, ears=heard.ears):
        await wait_until(heard.is_listening)
        await parts.queue.tell_lanes(operation, LaneChange.OFFERED)
        await parts.queue.tell_lanes(operation, LaneChange.LEFT)
        await parts.queue.poke(operation)
        await wait_until(lambda: _has(heard, 4))

    assert heard.said == [[], (operation, LaneChange.OFFERED), (operation, LaneChange.LEFT), operation]


async def test_what_only_a_newer_worker_says_is_a_reason_to_look(parts: Parts) -> None:
    """So versions may run side by side, and no connection is lost over it."""
    heard, namespace = Heard(), parts.settings.redis_namespace
    async with listening(parts.redis, namespace=namespace, ears=heard.ears):
        await wait_until(heard.is_listening)
        message = {"wake": [], "lanes": "rearranged", "operation": str(uuid4())}
        await parts.redis.publish(control_channel(namespace), orjson.dumps(message))
        await wait_until(lambda: _has(heard, 2))

    assert heard.said == [[], []]


async def _has(heard: Heard, count: int) -> bool:
    return len(heard.said) >= count


async def _nobody(operation_id: UUID, change: LaneChange) -> None:
    raise AssertionError(f"{operation_id} {change}: nothing is to be told")


async def test_who_waits_for_lanes_hears_of_its_own_alone() -> None:
    """An end is kept until it is looked at, and concerns one operation; an offer wakes nobody who waits."""
    signals, mine, other = LaneSignals(_nobody), uuid4(), uuid4()
    offered: list[UUID] = []
    signals.on_offers = offered.extend

    with signals.hearing(mine) as left:
        signals.take(other, LaneChange.LEFT)
        signals.take(mine, LaneChange.OFFERED)
        before = left.is_set()
        signals.take(mine, LaneChange.LEFT)
        after = left.is_set()
    left.clear()
    signals.take(mine, LaneChange.LEFT)

    assert (before, after, left.is_set()) == (False, True, False)
    assert offered == [mine]
