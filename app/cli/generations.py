"""``vecloom generations``: what a collection is searched in, and what is kept beside it."""

from typing import Any

from rich.console import Console
from rich.table import Table

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
    return f"{printable(generation['name'])}  {state}, {_model(generation)}, {_chunks(generation)}"


def show_generations(answer: dict[str, Any], console: Console) -> None:
    """One row a generation."""
    if not answer["generations"]:
        console.print("no generation yet; wait for the first INDEX operation")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("generation", overflow="fold")
    for name in ("state", "model", "chunks", "points", "created", "kept until"):
        table.add_column(name, overflow="fold", justify="right" if name == "points" else "left")
    for each in answer["generations"]:
        table.add_row(
            printable(each["name"]),
            f"[green]{each['state']}[/green]" if each["state"] == "active" else each["state"],
            _model(each),
            _chunks(each),
            str(each["points"]),
            _minute(each["created_at"]),
            _minute(each["drop_after"]),
        )
    console.print(table)


def _model(generation: dict[str, Any]) -> str:
    return f"{printable(generation['model'])} ({generation['dimension']})"


def _chunks(generation: dict[str, Any]) -> str:
    chunking = generation["chunking"]
    return f"{chunking['strategy']} {chunking['size']}/{chunking['overlap']}"


def _minute(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else "-"
