"""What a validation has found, as a table for a person."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from app.cli.progress import printable
from app.evaluation.report import Check, read_report

WIDTH = 160


def render_report(report: Mapping[str, Any], *, width: int = WIDTH) -> str:
    """The table as plain text."""
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        show_report(report, console)
    return captured.get()


def show_report(report: Mapping[str, Any], console: Console) -> None:
    """A line for each check and one that sums them up; ``report`` is as the API gives it."""
    found = read_report(report)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("check", "", "value", "threshold"):
        table.add_column(name, no_wrap=True, justify="right" if name in {"value", "threshold"} else "left")
    table.add_column("detail", overflow="fold")
    for check in found.checks:
        table.add_row(
            printable(check.name),
            _verdict(check),
            _number(check.value),
            _number(check.threshold),
            printable(check.summary),
        )
    console.print(table)
    failed = [printable(check.name) for check in found.checks if check.hard and not check.passed]
    words = (
        "[green]passed[/green]" if found.passed else f"[red]refused[/red] by {', '.join(failed) or 'no check at all'}"
    )
    console.print(words, highlight=False, soft_wrap=True)


def _verdict(check: Check) -> str:
    if not check.passed:
        return "[red]failed[/red]" if check.hard else "[yellow]failed, soft[/yellow]"
    return "[green]ok[/green]" if check.is_made else "[yellow]not made[/yellow]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
