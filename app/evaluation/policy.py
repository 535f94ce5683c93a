"""What a validation's checks are compared with, and which of them a rebuild may fail."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from app.domain.errors import InvalidGatePolicyError

BASE, CHECKS = "base", "checks"
THRESHOLD, HARD, UNMADE = "threshold", "hard", "unmade"
SHOWN = 40


class CheckName(StrEnum):
    """All checks, in the order in which they are shown."""

    COMPLETENESS = "completeness"
    VECTOR_COUNT = "vector_count"
    DOCUMENTS = "documents"
    TEXTS = "texts"
    CHUNKING = "chunking"
    UNIFORMITY = "uniformity"
    VECTORS = "vectors"
    PAYLOADS = "payloads"
    SPARSE = "sparse"
    INDEX_HEALTH = "index_health"
    SEARCH_OVERLAP = "search_overlap"
    SEARCH_QUALITY = "search_quality"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How one check is judged.

    Attributes:
        threshold: see ``docs/reindex-gate.md``.
        hard: whether a rebuild is refused when it fails.
        passes_unmade: whether it passes when it could not be made.
    """

    threshold: float
    hard: bool = True
    passes_unmade: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The usual threshold of a check, and the largest that means anything."""

    usual: float
    most: float


LIMITS: Mapping[CheckName, Limit] = MappingProxyType(
    {
        CheckName.COMPLETENESS: Limit(usual=0, most=1e9),
        CheckName.VECTOR_COUNT: Limit(usual=0.1, most=1e9),
        CheckName.DOCUMENTS: Limit(usual=0.99, most=1),
        CheckName.TEXTS: Limit(usual=0, most=1e9),
        CheckName.CHUNKING: Limit(usual=0.9, most=1),
        CheckName.UNIFORMITY: Limit(usual=0, most=1e9),
        CheckName.VECTORS: Limit(usual=0, most=1e9),
        CheckName.PAYLOADS: Limit(usual=0, most=1e9),
        CheckName.SPARSE: Limit(usual=0.95, most=1),
        CheckName.INDEX_HEALTH: Limit(usual=0.95, most=1),
        CheckName.SEARCH_OVERLAP: Limit(usual=0.9, most=1),
        CheckName.SEARCH_QUALITY: Limit(usual=0.02, most=1),
        CheckName.LATENCY: Limit(usual=2, most=1e6),
    }
)
OF_THE_OLD_SIDE = frozenset({CheckName.SEARCH_OVERLAP, CheckName.SEARCH_QUALITY, CheckName.LATENCY})
"""What cannot be measured once the old model does not answer any more, which may be why it is replaced."""
WITHOUT_WORDS = frozenset({CheckName.SPARSE})
"""What cannot be measured where no text has words to ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A rule for every check."""

    rules: Mapping[CheckName, Rule]

    def rule(self, name: CheckName) -> Rule:
        """How a check is judged."""
        return self.rules[name]


def _make(hard: frozenset[CheckName], passes_unmade: frozenset[CheckName]) -> Policy:
    return Policy(
        rules={
            name: Rule(threshold=LIMITS[name].usual, hard=name in hard, passes_unmade=name in passes_unmade)
            for name in CheckName
        }
    )


EVERY = frozenset(CheckName)
STRICT = _make(hard=EVERY, passes_unmade=frozenset())
DEFAULT = _make(hard=EVERY - {CheckName.LATENCY}, passes_unmade=OF_THE_OLD_SIDE | WITHOUT_WORDS)
REPORT_ONLY = _make(hard=frozenset(), passes_unmade=frozenset())
POLICIES: Mapping[str, Policy] = MappingProxyType({"default": DEFAULT, "strict": STRICT, "report-only": REPORT_ONLY})


def parse_policy(value: object) -> Policy:
    """A policy as JSON says it: a name, or ``{"base": name, "checks": {name: {"threshold", "hard", "unmade"}}}``.

    Raises:
        InvalidGatePolicyError: with what has to be changed.
    """
    if value is None:
        return DEFAULT
    if isinstance(value, str):
        return _named(value)
    if not isinstance(value, Mapping):
        raise InvalidGatePolicyError(f"it must be one of {_list(POLICIES)}, or an object")
    _require_known(value, (BASE, CHECKS), "the policy")
    base = _named(value.get(BASE, "default"))
    checks = value.get(CHECKS, {})
    if not isinstance(checks, Mapping):
        raise InvalidGatePolicyError("`checks` must be an object")
    _require_known(checks, tuple(CheckName), "`checks`")
    changed = {CheckName(name): _change(CheckName(name), base, change) for name, change in checks.items()}
    return Policy(rules={**base.rules, **changed})


def _named(name: object) -> Policy:
    if not isinstance(name, str) or name not in POLICIES:
        raise InvalidGatePolicyError(f"it must be one of {_list(POLICIES)}, not {_show(name)}")
    return POLICIES[name]


def _change(name: CheckName, base: Policy, change: object) -> Rule:
    rule = base.rules[name]
    if not isinstance(change, Mapping):
        raise InvalidGatePolicyError(f"`{name}` must be an object with {_list((THRESHOLD, HARD, UNMADE))}")
    _require_known(change, (THRESHOLD, HARD, UNMADE), f"`{name}`")
    hard, unmade = change.get(HARD, rule.hard), change.get(UNMADE)
    if not isinstance(hard, bool):
        raise InvalidGatePolicyError(f"`{name}.{HARD}` must be true or false")
    if unmade not in (None, "pass", "fail"):
        raise InvalidGatePolicyError(f"`{name}.{UNMADE}` must be `pass` or `fail`")
    passes = rule.passes_unmade if unmade is None else unmade == "pass"
    threshold = _read_threshold(name, change.get(THRESHOLD, rule.threshold))
    return replace(rule, threshold=threshold, hard=hard, passes_unmade=passes)


def _read_threshold(name: CheckName, value: Any) -> float:  # noqa: ANN401 — JSON
    most = LIMITS[name].most
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # which no infinity is, nor what is not a number
    if not is_number or not 0 <= value <= most:
        raise InvalidGatePolicyError(f"`{name}.{THRESHOLD}` must be a number from 0 to {most:g}")
    return float(value)


def _require_known(value: Mapping[Any, Any], known: tuple[str, ...], where: str) -> None:
    unknown = next((key for key in value if key not in known), None)
    if unknown is not None:
        raise InvalidGatePolicyError(f"{where} may have {_list(known)}, not {_show(unknown)}")


def _list(names: object) -> str:
    return ", ".join(f"`{name}`" for name in names)  # type: ignore[attr-defined]  # names of any kind


def _show(value: object) -> str:
    text = str(value)
    return f"`{text[:SHOWN]}…`" if len(text) > SHOWN else f"`{text}`"
