"""``vecloom generations``: what a collection is searched in, and what is kept beside it."""

from typing import Any

from rich.console import Console

from app.cli.client import collection_path
from app.cli.progress import printable
from app.cli.session import open_client
from app.settings import Settings


async def list_generations(settings: Settings, name: str) -> Any:  # noqa: ANN401 — JSON
    """Those that were not dropped, newest first."""
    async with open_client(settings, worker=False) as client:
        return await client.call("GET", collection_path(name, "generations"))


def describe(generation: dict[str, Any]) -> str:
    """One line on a generation, as markup."""
    state = (
        generation["state"] if generation["is_complete"] else f"[yellow]{generation['state']}, not complete[/yellow]"
    )
    return f"{printable(generation['name'])}  {state}, {printable(_model(generation))}, {_chunks(generation)}"


def show_generations(answer: dict[str, Any], console: Console) -> None:
    """One line a generation, with its whole name; no line is cut, whatever the width of the terminal."""
    if not answer["generations"]:
        console.print("no generation yet; wait for the first INDEX operation")
        return
    rows = [("generation", "state", "model", "chunks", "points", "created", "kept until")]
    for each in answer["generations"]:
        times = (_minute(each["created_at"]), _minute(each["drop_after"]))
        rows.append((each["name"], each["state"], _model(each), _chunks(each), str(each["points"]), *times))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True))
        console.print(printable(line.rstrip()), highlight=False, soft_wrap=True)


def _model(generation: dict[str, Any]) -> str:
    return f"{generation['model']} ({generation['dimension']})"


def _chunks(generation: dict[str, Any]) -> str:
    chunking = generation["chunking"]
    return f"{chunking['strategy']} {chunking['size']}/{chunking['overlap']}"


def _minute(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else "-"
