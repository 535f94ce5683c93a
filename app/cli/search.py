"""``vecloom search``: what it asks, and how it shows the answer."""

from typing import Any

from rich.console import Console

from app.cli.client import collection_path
from app.cli.progress import printable
from app.cli.session import open_client
from app.settings import Settings

SNIPPET_CHARACTERS = 320


async def search(settings: Settings, name: str, query: str, options: dict[str, Any]) -> Any:  # noqa: ANN401 — JSON
    """Ask a collection."""
    chosen = {"folders": options["folders"], "file_types": options["file_types"]}
    restrict = {key: value for key, value in chosen.items() if value}
    # what is not said is not sent: a server of an earlier version knows none of it
    said = {key: value for key, value in options["settings"].items() if value is not None}
    body = {"query": query, "limit": options["limit"], "filter": restrict, **said}
    async with open_client(settings, worker=False) as client:
        return await client.call("POST", collection_path(name, "search"), json=body)


def search_json(answer: dict[str, Any]) -> dict[str, Any]:
    """The contract's object of a search."""
    keys = ("rank", "score", "uri", "document_id", "chunk_id", "title", "text", "start", "end")
    hits = [
        {**{key: hit[key] for key in keys}, "headings": hit.get("headings", []), "parent": hit.get("parent")}
        for hit in answer["hits"]
    ]
    return {**{key: answer[key] for key in ("mode", "took_ms", "generation")}, "hits": hits}


def show_hits(answer: dict[str, Any], console: Console) -> None:
    """Hits with file, score and the matching text."""
    if not answer["hits"]:
        console.print("nothing found; try other words, or --mode dense", highlight=False)
    for hit in answer["hits"]:
        title = f" — {printable(hit['title'])}" if hit["title"] else ""
        console.print(
            f"[bold]{hit['rank']}.[/bold] [cyan]{printable(hit['path'])}[/cyan]{title}  [dim]{hit['score']:.4f}[/dim]",
            highlight=False,
            soft_wrap=True,
        )
        console.print(f"   {snippet(hit)}", highlight=False)
    console.print(
        f"[dim]{len(answer['hits'])} hits, {answer['mode']}, {answer['took_ms']:.0f} ms[/dim]", highlight=False
    )


def snippet(hit: dict[str, Any]) -> str:
    """The part of the text with the most marked words, as markup."""
    text, spans = hit["text"], hit.get("highlights") or []
    start = 0
    if spans and len(text) > SNIPPET_CHARACTERS:
        start = max(
            (span[0] for span in spans),
            key=lambda begin: sum(begin <= other[0] < begin + SNIPPET_CHARACTERS for other in spans),
        )
        start = max(0, start - 40)
    end = min(len(text), start + SNIPPET_CHARACTERS)
    parts, position = ["…" if start else ""], start
    for begin, stop in spans:
        if begin >= position and stop <= end:
            parts += [_plain(text[position:begin]), f"[bold yellow]{_plain(text[begin:stop])}[/bold yellow]"]
            position = stop
    parts += [_plain(text[position:end]), "…" if end < len(text) else ""]
    return " ".join("".join(parts).split())


def _plain(text: str) -> str:
    return printable(text, keep_lines=True)
