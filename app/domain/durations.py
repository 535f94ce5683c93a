"""Lengths of time as people write them: ``15m``, ``1h30m``, ``2d``."""

import re

from app.domain.sync_errors import InvalidDurationError

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"([0-9]{1,9})([smhdw])")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def parse_duration(text: str, *, least: int, most: int) -> int:
    """Seconds of a length of time between ``least`` and ``most`` seconds.

    Raises:
        InvalidDurationError: saying how it is written, or what its bounds are.
    """
    plain = "".join(text.split()).lower()
    if _WHOLE.fullmatch(plain) is None:
        raise InvalidDurationError(
            f"{text!r} is no length of time; write a number and a unit, as in 90s, 15m, 2h, 1d or 1h30m"
        )
    seconds = sum(int(number) * SECONDS[unit] for number, unit in _PART.findall(plain))
    if not least <= seconds <= most:
        raise InvalidDurationError(
            f"{text!r} is {'too short' if seconds < least else 'too long'}; it has to be between"
            f" {format_duration(least)} and {format_duration(most)}"
        )
    return seconds


def format_duration(seconds: int) -> str:
    """The same as ``parse_duration`` reads: the largest units that it is made of."""
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, seconds = divmod(seconds, SECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
