"""``vecloom remove-source``, ``retry-documents`` and ``delete``."""

import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from app.cli.client import Client, CliError, collection_path
from app.cli.commands import follow, to_url
from app.cli.progress import ProgressView, printable
from app.cli.session import open_client
from app.settings import Settings


def confirm_deletion(name: str, *, is_sure: bool) -> None:
    """Ask on a terminal whether a collection shall go for good; elsewhere somebody has to have said so.

    Raises:
        CliError: if it shall not, or nobody can be asked.
    """
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise CliError("not_confirmed", f"nothing was deleted; say that you mean it: vecloom delete {name} --yes")
    question = f"Delete the collection {printable(name)} with all it holds? It cannot be brought back."
    if not typer.confirm(question, default=False, err=True):
        raise CliError("not_confirmed", "nothing was deleted")


async def delete(settings: Settings, name: str, console: Console) -> Any:  # noqa: ANN401 — JSON
    """Delete a collection and wait until nothing of it is left."""
    async with open_client(settings) as client:
        operation = await client.call("DELETE", collection_path(name))
        ended = await _see_through(client, operation, console)
        # the row that the operation was of is gone by then
        return {**ended, "collection_id": operation["collection_id"]}


async def remove_source(settings: Settings, name: str, source: str, console: Console) -> Any:  # noqa: ANN401 — JSON
    """Take a source out of a collection and wait."""
    async with open_client(settings) as client:
        found = await _find_source(client, name, source)
        operation = await client.call("DELETE", collection_path(name, "sources", found["id"]))
        return await _see_through(client, operation, console)


async def retry_documents(settings: Settings, name: str, body: dict[str, Any], console: Console) -> Any:  # noqa: ANN401 — JSON
    """Try documents again and wait."""
    async with open_client(settings) as client:
        operation = await client.call("POST", collection_path(name, "documents", "retry"), json=body)
        return await _see_through(client, operation, console)


async def _see_through(client: Client, operation: dict[str, Any], console: Console) -> dict[str, Any]:
    with ProgressView(console) as view:
        ended = await follow(client, operation, view, [])
    view.show_errors(ended["operation_id"])
    return ended


async def _find_source(client: Client, name: str, wanted: str) -> dict[str, Any]:
    """The source with this id, URL or path."""
    sources: list[dict[str, Any]] = (await client.call("GET", collection_path(name, "sources")))["sources"]
    urls = {wanted, to_url(wanted), to_url(wanted.rstrip("/") or "/"), _resolved(wanted)}
    for source in sources:
        if source["id"] == wanted or source["url"] in urls:
            return source
    known = "; it has " + ", ".join(f"{source['url']} ({source['id']})" for source in sources)
    raise CliError(
        "source_unknown", f"collection {name!r} has no source {wanted}{known if sources else ' and no other one'}"
    )


def _resolved(path: str) -> str:
    """The URL of a path without its links and dots."""
    return path if "://" in path else Path(path).expanduser().resolve().as_uri()


def show_ended(ended: dict[str, Any], console: Console) -> None:
    """What came of it, for a person."""
    result = ended["result"]
    if ended["state"] != "completed" or result is None:
        code = f"{ended['error_code']}: " if ended.get("error_code") else ""
        detail = printable(ended.get("error_message") or "")
        console.print(f"[red]{ended['state']}[/red] {code}{detail}".rstrip(), highlight=False, soft_wrap=True)
        console.print(f"go on with: vecloom ops retry {ended['operation_id']}", highlight=False, soft_wrap=True)
        return
    done = "[yellow]completed with errors[/yellow]" if result.get("documents_failed") else "[green]completed[/green]"
    console.print(f"{done}: {_summary(ended['kind'], result)}", highlight=False, soft_wrap=True)


def _summary(kind: str, result: dict[str, Any]) -> str:
    if kind == "DELETE":
        return f"{result['documents']} documents, {result['points']} points deleted"
    if kind == "REMOVE_SOURCE":
        kept = f"; {result['documents_kept']} stay, for other sources have them" if result["documents_kept"] else ""
        return f"{result['documents_removed']} documents, {result['points_removed']} points removed{kept}"
    parts = [
        f"{result['documents_retried']} documents tried again",
        f"{result['documents']} indexed",
        f"{result['documents_failed']} failed",
        f"{result['needs_ocr']} need OCR",
    ]
    return ", ".join(parts)
