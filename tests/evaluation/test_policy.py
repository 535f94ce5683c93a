"""Policies are read from JSON, and whoever writes a wrong one is told what to change."""

from typing import Any

import pytest

from app.domain.errors import InvalidGatePolicyError, InvalidInputError
from app.evaluation.policy import DEFAULT, REPORT_ONLY, STRICT, CheckName, parse_policy


def test_names_stand_for_policies() -> None:
    """Nothing said is the default one."""
    assert parse_policy(None) is DEFAULT
    assert parse_policy("default") is DEFAULT
    assert parse_policy("strict") is STRICT
    assert parse_policy("report-only") is REPORT_ONLY


def test_what_the_named_ones_mean() -> None:
    """Strict refuses for everything, report-only for nothing, the default for all but speed."""
    assert all(rule.hard and not rule.passes_unmade for rule in STRICT.rules.values())
    assert not any(rule.hard for rule in REPORT_ONLY.rules.values())
    assert [name for name, rule in DEFAULT.rules.items() if not rule.hard] == [CheckName.LATENCY]
    assert not DEFAULT.rule(CheckName.VECTORS).passes_unmade
    assert DEFAULT.rule(CheckName.SEARCH_QUALITY).passes_unmade
    assert set(STRICT.rules) == set(DEFAULT.rules) == set(REPORT_ONLY.rules) == set(CheckName)


def test_single_values_change_a_base() -> None:
    """The rest stays as it is there."""
    policy = parse_policy(
        {"base": "strict", "checks": {"latency": {"threshold": 3, "hard": False}, "sparse": {"unmade": "pass"}}}
    )

    assert policy.rule(CheckName.LATENCY).threshold == 3
    assert not policy.rule(CheckName.LATENCY).hard
    assert policy.rule(CheckName.SPARSE).passes_unmade
    assert policy.rule(CheckName.SPARSE).threshold == STRICT.rule(CheckName.SPARSE).threshold
    assert policy.rule(CheckName.VECTORS) == STRICT.rule(CheckName.VECTORS)
    assert STRICT.rule(CheckName.LATENCY).hard


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("lenient", "one of `default`, `strict`, `report-only`, not `lenient`"),
        ("x" * 500, f"not `{'x' * 40}…`"),
        (7, "or an object"),
        ([], "or an object"),
        ({"base": 3}, "not `3`"),
        ({"base": ["strict"]}, "not `['strict']`"),
        ({"basis": "strict"}, "the policy may have `base`, `checks`, not `basis`"),
        ({"checks": []}, "`checks` must be an object"),
        ({"checks": {"speed": {}}}, "not `speed`"),
        ({"checks": {"latency": 3}}, "`latency` must be an object"),
        ({"checks": {"latency": {"limit": 3}}}, "not `limit`"),
        ({"checks": {"latency": {"hard": "yes"}}}, "`latency.hard` must be true or false"),
        ({"checks": {"latency": {"hard": 1}}}, "`latency.hard` must be true or false"),
        ({"checks": {"latency": {"unmade": "skip"}}}, "`pass` or `fail`"),
        ({"checks": {"latency": {"unmade": []}}}, "`pass` or `fail`"),
        ({"checks": {"latency": {"threshold": -1}}}, "from 0 to 1e+06"),
        ({"checks": {"sparse": {"threshold": 1.1}}}, "from 0 to 1"),
        ({"checks": {"sparse": {"threshold": True}}}, "must be a number"),
        ({"checks": {"sparse": {"threshold": "1"}}}, "must be a number"),
        ({"checks": {"sparse": {"threshold": float("nan")}}}, "must be a number"),
        ({"checks": {"sparse": {"threshold": None}}}, "must be a number"),
        ({"checks": {"sparse": {"threshold": 10**400}}}, "must be a number"),
    ],
)
def test_what_is_wrong_is_said(value: Any, words: str) -> None:
    """The message names the place and what may stand there, and does not repeat all of what was sent."""
    with pytest.raises(InvalidGatePolicyError) as caught:
        parse_policy(value)

    assert words in caught.value.message
    assert len(caught.value.message) < 500
    assert isinstance(caught.value, InvalidInputError)
    assert caught.value.code == "invalid_gate_policy"
