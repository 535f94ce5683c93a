"""The plan of a run comes from its seed alone."""

import pytest

from tests.chaos.faults import EFFECTS
from tests.chaos.plan import ACTIONS, FAULTS, make_plan


def test_the_same_seed_gives_the_same_plan() -> None:
    """Steps, times, targets and everything else drawn are equal; another seed gives another plan."""
    first, again, other = make_plan(7, 50), make_plan(7, 50), make_plan(8, 50)

    assert first == again
    assert first != other


@pytest.mark.parametrize("faults", [1, 25, 500])
def test_a_plan_has_as_many_faults_as_asked_for(faults: int) -> None:
    """Actions come on top, no later than the last fault, and everything is in the order of time."""
    plan = make_plan(3, faults)

    assert sum(step.is_fault for step in plan) == faults
    assert plan[-1].is_fault
    assert [step.at_seconds for step in plan] == sorted(step.at_seconds for step in plan)
    assert [step.number for step in plan] == list(range(len(plan)))


def test_a_long_plan_holds_every_fault_and_every_action() -> None:
    """Nothing is so rare that 500 faults would leave it out for long."""
    names = {step.name for seed in range(3) for step in make_plan(seed, 500)}

    assert names == {*FAULTS, *ACTIONS}


def test_only_some_faults_can_be_asked_for() -> None:
    """For finding out what one fault does."""
    plan = make_plan(3, 40, only=["redis_kill", "api_kill"])

    assert {step.name for step in plan if step.is_fault} == {"redis_kill", "api_kill"}


def test_every_fault_that_can_be_drawn_can_be_done() -> None:
    """The plan and what carries it out know the same faults."""
    assert set(EFFECTS) == set(FAULTS)
