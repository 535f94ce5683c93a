"""Two rankings side by side, as a table for a person."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table

from app.domain.comparison import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One document with its ranks; ``document`` and ``text`` are markup."""

    old: int | None
    new: int | None
    change: Change | None
    document: str
    text: str = ""


def make_table(rows: Iterable[Row], *, with_text: bool = False) -> Table:
    """A line for each document: new rank, old rank, what has become of it, the document, and its text if wanted."""
    table = Table(box=None, pad_edge=False, expand=True)
    for name in ("new", "old", ""):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("document", overflow="fold", ratio=2)
    if with_text:
        table.add_column("text", overflow="ellipsis", no_wrap=True, ratio=3)
    for row in rows:
        cells = [_rank(row.new), _rank(row.old), _arrow(row), row.document]
        table.add_row(*cells, *([row.text] if with_text else []))
    return table


def _rank(rank: int | None) -> str:
    return "-" if rank is None else str(rank)


def _arrow(row: Row) -> str:
    if row.change is None:
        return ""
    if row.old is not None and row.new is not None:
        moved = row.old - row.new
        if moved == 0:
            return "[dim]=[/dim]"
        return f"[green]↑{moved}[/green]" if moved > 0 else f"[yellow]↓{-moved}[/yellow]"
    return "[green]new[/green]" if row.change is Change.NEW else "[red]lost[/red]"
