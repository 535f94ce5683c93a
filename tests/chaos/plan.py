"""What a run will do and when, decided by its seed alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

FAULTS_PER_SECOND = 0.9
ACTIONS_PER_SECOND = 0.9
SEEDS = 2**31

FAULTS: Mapping[str, int] = {
    "worker_kill": 9,
    "worker_term": 6,
    "worker_freeze": 4,
    "worker_freeze_short": 3,
    "worker_block": 4,
    "worker_block_short": 3,
    "workers_kill_all": 2,
    "child_kill": 6,
    "redis_kill": 4,
    "redis_flush": 4,
    "redis_empty": 3,
    "redis_freeze": 3,
    "postgres_restart": 2,
    "postgres_quit": 2,
    "postgres_kill": 2,
    "postgres_terminate": 5,
    "postgres_exhaust": 2,
    "vectors_kill": 4,
    "vectors_freeze": 3,
    "model_down": 2,
    "model_slow": 2,
    "model_error": 2,
    "model_busy": 2,
    "model_garbage": 2,
    "model_nan": 1,
    "model_dimension": 2,
    "partition": 4,
    "clock_jump": 3,
    "enqueue_lost": 4,
    "enqueue_twice": 3,
    "reconcilers": 2,
    "api_kill": 4,
}
"""Every fault by name, with how often it is drawn."""

ACTIONS: Mapping[str, int] = {
    "append": 10,
    "append_twice": 3,
    "append_at_once": 3,
    "cancel": 6,
    "retry": 5,
    "pause": 3,
    "pause_collection": 2,
    "verify": 2,
    "create": 3,
    "come_and_go": 2,
    "search": 4,
}
"""Everything users do by name, with how often it is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One fault or action.

    Attributes:
        number: its place in the plan, from 0.
        at_seconds: when, from the beginning.
        name: a key of ``FAULTS`` or ``ACTIONS``.
        target: picks one of whatever there is then, modulo their number.
        share: in [0, 1); how long or how much, between the bounds of its kind.
        seed: of whatever else it draws.
    """

    number: int
    at_seconds: float
    name: str
    target: int
    share: float
    seed: int

    @property
    def is_fault(self) -> bool:
        """Whether it is something that breaks."""
        return self.name in FAULTS

    def between(self, least: float, most: float) -> float:
        """A value of this step's own in a range."""
        return least + self.share * (most - least)


def make_plan(seed: int, faults: int, *, only: Sequence[str] = ()) -> list[Step]:
    """Exactly ``faults`` faults and the actions beside them, in the order of their times; ``only`` names faults."""
    chance = Random(seed)  # noqa: S311 — repeatable, keeps no secret
    weights = {name: FAULTS[name] for name in only} or FAULTS
    gaps = [chance.expovariate(FAULTS_PER_SECOND) for _ in range(faults)]
    drawn = [(at, name) for at, name in zip(accumulate(gaps), _draw(chance, weights, faults), strict=True)]
    end = drawn[-1][0] if drawn else 0.0
    count = max(1, round(end * ACTIONS_PER_SECOND))
    drawn += [(chance.uniform(0.0, end), name) for name in _draw(chance, ACTIONS, count)]
    return [
        Step(
            number=number,
            at_seconds=at,
            name=name,
            target=chance.randrange(SEEDS),
            share=chance.random(),
            seed=chance.randrange(SEEDS),
        )
        for number, (at, name) in enumerate(sorted(drawn))
    ]


def _draw(chance: Random, weights: Mapping[str, int], count: int) -> list[str]:
    return chance.choices(list(weights), list(weights.values()), k=count)
