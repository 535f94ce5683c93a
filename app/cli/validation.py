"""What a validation has found, as a table for a person."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from app.cli.progress import printable
from app.cli.rankings import Row, make_table
from app.domain.comparison import Change
from app.evaluation.alignment import align_rankings
from app.evaluation.policy import CheckName
from app.evaluation.report import Check, Report, read_report

WIDTH = 160
QUERIES = 5
"""Of each mode; a report has twice as many."""


def render_report(report: Mapping[str, Any], *, width: int = WIDTH) -> str:
    """The table as plain text."""
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        show_report(report, console)
    return captured.get()


def show_report(report: Mapping[str, Any], console: Console, *, with_moved: bool = True) -> None:
    """A line for each check, one that sums them up, and what has moved; ``report`` is as the API gives it."""
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
    for mode, moved in _find_moved(found).items() if with_moved else ():
        _show_moved(mode, moved, console)


def _find_moved(report: Report) -> Mapping[str, Any]:
    """By mode of search; nothing if searches were not compared."""
    for check in report.checks:
        if check.name == CheckName.SEARCH_OVERLAP:
            moved: Mapping[str, Any] = check.detail.get("moved", {})
            return moved
    return {}


def _show_moved(mode: str, moved: Sequence[Mapping[str, Any]], console: Console) -> None:
    """The queries of one mode of search on which both sides agree least, with the documents that have moved."""
    if not moved:
        return
    console.print(f"\nmoved most, {printable(mode)}:")
    for query in moved[:QUERIES]:
        console.print(
            f"[bold]{printable(query['query'])}[/bold]  [dim]overlap {query['overlap']:.2f}[/dim]",
            highlight=False,
            soft_wrap=True,
        )
        console.print(make_table(_list_rows(query)))
    if len(moved) > QUERIES:
        console.print(f"… and {len(moved) - QUERIES} more in the report")


def _list_rows(query: Mapping[str, Any]) -> list[Row]:
    documents = query.get("documents", {})
    aligned = align_rankings(query["old"], query["new"])
    return [
        Row(old=one.old, new=one.new, change=one.change, document=_name(one.item, documents.get(one.item)))
        for one in aligned
        if one.change is not Change.SAME
    ]


def _name(document_id: str, document: Mapping[str, str | None] | None) -> str:
    """URI and title; the id where a report of an older version has neither."""
    if document is None:
        return printable(document_id)
    title = document["title"]
    return printable(document["uri"] or document_id) + (f" — {printable(title)}" if title else "")


def _verdict(check: Check) -> str:
    if not check.passed:
        return "[red]failed[/red]" if check.hard else "[yellow]failed, soft[/yellow]"
    return "[green]ok[/green]" if check.is_made else "[yellow]not made[/yellow]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
