"""``vecloom stats``: what a collection holds, and how it has grown."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from app.cli.client import collection_path
from app.cli.progress import printable
from app.cli.session import open_client
from app.settings import Settings

BARS = " ▁▂▃▄▅▆▇█"
WIDEST = 60
ROWS = 4
MOST_ROWS = 10
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


async def read_stats(settings: Settings, name: str, *, days: int) -> Any:  # noqa: ANN401 — JSON
    """What the server says of a collection."""
    async with open_client(settings, worker=False) as client:
        return await client.call("GET", collection_path(name, "stats"), params={"days": days})


def show_stats(answer: dict[str, Any], console: Console) -> None:
    """Figures, two small tables, and the growth as a chart where that is a terminal."""
    console.print(
        f"{printable(answer['collection'])}: {answer['documents']} documents, {answer['chunks']} chunks of"
        f" {answer['average_chunk_tokens']:g} tokens, {_size(answer['bytes'])}",
        soft_wrap=True,
    )
    states = ", ".join(f"{count} {state}" for state, count in sorted(answer["by_state"].items()))
    changed = (answer["changed_at"] or "never")[:16].replace("T", " ")
    console.print(f"by state: {states or 'none'}; last change: {changed}", soft_wrap=True)
    cache = answer["cache"]
    console.print(f"embedded before: {cache['hits']} of {cache['hits'] + cache['misses']} texts looked up")
    searches = answer["searches"]
    console.print(
        f"searches of {searches['days']} days: {searches['searches']}, {searches['empty']} without a hit,"
        f" {searches['failed']} failed; {searches['average_ms']:.0f} ms on average",
        soft_wrap=True,
    )
    _show_table("file type", [(name or "none", each) for name, each in answer["by_file_type"].items()], console)
    _show_table("source", [(each["url"] or each["id"], each) for each in answer["by_source"]], console)
    points = [*(each["chunks"] for each in answer["growth"]), answer["chunks"]]
    if console.is_terminal and len(points) > 1:
        console.print(f"chunks since {answer['growth'][0]['at'][:16].replace('T', ' ')}:")
        for line in draw_chart(points, width=min(WIDEST, console.width - 12)):
            console.print(line, markup=False)


def draw_chart(values: Sequence[int], *, width: int, rows: int = ROWS) -> list[str]:
    """Bars of values, the last one at the right end; the highest and the lowest of the scale stand before them."""
    columns = max(1, min(width, len(values)))
    shown = [values[(number + 1) * len(values) // columns - 1] for number in range(columns)]
    most = max(*shown, 1)
    steps = len(BARS) - 1
    heights = [-(-value * rows * steps // most) for value in shown]
    lines = []
    for row in reversed(range(rows)):
        bars = "".join(BARS[max(0, min(steps, height - row * steps))] for height in heights)
        label = str(most) if row == rows - 1 else "0" if row == 0 else ""
        lines.append(f"{label:>10} {bars}".rstrip())
    return lines


def _show_table(title: str, rows: Sequence[tuple[str, dict[str, Any]]], console: Console) -> None:
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    table.add_column(title, overflow="fold")
    for column in ("documents", "chunks", "tokens", "size"):
        table.add_column(column, justify="right")
    for name, each in rows[:MOST_ROWS]:
        numbers = (str(each["documents"]), str(each["chunks"]), str(each["tokens"]), _size(each["bytes"]))
        table.add_row(printable(name), *numbers)
    console.print(table)
    if len(rows) > MOST_ROWS:
        console.print(f"… and {len(rows) - MOST_ROWS} more; --json has them")


def _size(count: float) -> str:
    unit = 0
    while count >= 1024 and unit < len(UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.1f} {UNITS[unit]}" if unit else f"{count:g} B"
