"""Checks: what was looked at, whether it is well, and what to do if it is not."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at. ``detail`` and ``fix`` are for a person; ``fix`` says what to do if it is not ``ok``."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Looks at one part of the system.

    Attributes:
        name: of the check that stands for all of its checks if it raises or does not come back.
        look: gives its checks.
        fix: what to do if it raises or does not come back.
    """

    name: str
    look: Callable[[], Awaitable[Sequence[Check]]]
    fix: str = ""
