"""Lengths of time as people write them."""

import pytest

from app.domain.durations import format_duration, parse_duration
from app.domain.sync_errors import InvalidDurationError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86_400), ("1w", 604_800), ("1h30m", 5400), (" 1H 30 m ", 5400)],
)
def test_a_number_and_a_unit_is_a_length_of_time(text: str, seconds: int) -> None:
    """Units may follow each other, in any case, with spaces between."""
    assert parse_duration(text, least=60, most=10**7) == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "1.5h", "-1h", "15 minutes", "1h30", "1y", "\u0661m", "9999999999s"])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    """A bare number is not guessed at."""
    with pytest.raises(InvalidDurationError, match="a number and a unit, as in 90s, 15m"):
        parse_duration(text, least=60, most=10**7)


@pytest.mark.parametrize(("text", "word"), [("59s", "too short"), ("0m", "too short"), ("200d", "too long")])
def test_bounds_are_said(text: str, word: str) -> None:
    """The message has both ends in the same writing."""
    with pytest.raises(InvalidDurationError, match=f"{word}; it has to be between 1m and 1d"):
        parse_duration(text, least=60, most=86_400)


@pytest.mark.parametrize("seconds", [60, 61, 900, 5400, 86_400, 90_061])
def test_what_is_written_can_be_read(seconds: int) -> None:
    """Writing and reading are each other's inverse."""
    assert parse_duration(format_duration(seconds), least=1, most=10**7) == seconds
