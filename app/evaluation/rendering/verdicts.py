"""What became of the conditions that a benchmark had to meet."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.evaluation.rendering.blocks import Cell, Section, Table, columns
from app.evaluation.rendering.values import ABSENT, amount, interval, number, score
from app.evaluation.rendering.words import OUTCOMES, read_code, tell

MOST_VERDICTS = 256


def describe_verdicts(report: Mapping[str, Any]) -> Section | None:
    """A row for each condition: its outcome as a word, and the numbers behind it."""
    verdicts: Sequence[Mapping[str, Any]] = report.get("verdicts") or ()
    if not verdicts:
        return None
    table = Table(
        caption="What was asked of this benchmark",
        columns=columns(
            "condition", "outcome", "run", "why", numbers=("value", "limit", "on its right side by", "queries needed")
        ),
        rows=tuple(map(_show_verdict, verdicts[:MOST_VERDICTS])),
    )
    return Section(name="verdicts", heading="Verdicts", blocks=(table,))


def _show_verdict(verdict: Mapping[str, Any]) -> tuple[Cell, ...]:
    outcome = str(verdict.get("outcome"))
    needed = verdict.get("queries_needed")
    return (
        Cell(text=str(verdict.get("condition"))),
        OUTCOMES.get(outcome) or Cell(text=read_code(outcome)),
        Cell(text=tell(verdict.get("run"))),
        Cell(text=str(verdict.get("words") or ABSENT)),
        Cell(text=_tell_value(verdict.get("value"))),
        Cell(text=_tell_value(verdict.get("threshold"))),
        Cell(text=interval(verdict.get("interval"))),
        Cell(text=amount(needed)),
    )


def _tell_value(value: object) -> str:
    """A measure is below one; a latency or a count is not."""
    found = number(value)
    return score(value) if found is None or abs(found) <= 1 else amount(value)
