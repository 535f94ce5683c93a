"""What a validation has found: a list of checks, each with its numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

SUMMARY, NOT_MADE = "summary", "not_made"
"""Keys of every check's ``detail``: one sentence for a person, and why the check could not be made, if so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        hard: whether the report fails with it.
        value: what was measured; None if the check could not be made.
        threshold: what the value was compared with.
        detail: a JSON object with at least a ``summary``.
    """

    name: str
    passed: bool
    hard: bool
    value: float | None
    threshold: float | None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """One sentence for a person."""
        return str(self.detail.get(SUMMARY, ""))

    @property
    def is_made(self) -> bool:
        """Whether anything was measured."""
        return NOT_MADE not in self.detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All checks of one validation."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no hard check has failed. A report without checks says nothing, and so does not pass."""
        return bool(self.checks) and all(check.passed or not check.hard for check in self.checks)

    @property
    def failed(self) -> list[str]:
        """Names of the checks that did not pass, hard or soft."""
        return [check.name for check in self.checks if not check.passed]

    def check(self, name: str) -> Check:
        """The check of a name; raises KeyError."""
        return {check.name: check for check in self.checks}[name]

    def to_dict(self) -> dict[str, Any]:
        """As it is stored and shown."""
        checks = [{**asdict(check), "detail": dict(check.detail)} for check in self.checks]
        return {"passed": self.passed, "checks": checks}


def read_report(stored: Mapping[str, Any]) -> Report:
    """A report of its ``to_dict``."""
    checks: Sequence[Mapping[str, Any]] = stored["checks"]
    return Report(checks=tuple(Check(**check) for check in checks))
