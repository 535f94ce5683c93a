"""``vecloom reindex`` and ``rollback``."""

from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from app.cli.client import Client, CliError, collection_path
from app.cli.commands import see_through
from app.cli.plan import REUSE, estimate_line
from app.cli.progress import printable
from app.cli.validation import show_report
from app.settings import Settings

LEVELS = {
    "index": "in place",
    "chunks": "from the stored chunks",
    "text": "from the stored text",
    "source": "from the sources",
}


def read_gate(given: str | None) -> Any:  # noqa: ANN401 — JSON
    """A gate policy as the command line says it: a name, or an object in JSON.

    Raises:
        CliError: if it looks like JSON and is none.
    """
    if given is None or not given.lstrip().startswith("{"):
        return given
    try:
        return orjson.loads(given)
    except orjson.JSONDecodeError as error:
        raise CliError("invalid_gate_policy", f"the gate policy is no JSON: {error}") from None


def read_index(given: str | None) -> Any:  # noqa: ANN401 — JSON
    """Settings of an index as the command line says them.

    Raises:
        CliError: if they are no JSON.
    """
    try:
        return None if given is None else orjson.loads(given)
    except orjson.JSONDecodeError as error:
        raise CliError("invalid_index_settings", f"the settings of the index are no JSON: {error}") from None


def read_sparse(given: str | None) -> Any:  # noqa: ANN401 — JSON
    """Settings of words as the command line says them.

    Raises:
        CliError: if they are no JSON.
    """
    try:
        return None if given is None else orjson.loads(given)
    except orjson.JSONDecodeError as error:
        raise CliError("invalid_sparse_settings", f"the settings of the words are no JSON: {error}") from None


async def rebuild(
    settings: Settings, name: str, path: str, body: dict[str, Any] | None, console: Console
) -> dict[str, Any]:
    """Begin a rebuild or a rollback and wait; see ``see_through``."""

    async def begin(client: Client) -> dict[str, Any]:
        operation: dict[str, Any] = await client.call("POST", collection_path(name, path), json=body)
        return operation

    return await see_through(settings, begin, console)


def show_rebuild(ended: dict[str, Any], name: str, console: Console, *, with_moved: bool) -> None:
    """The report of the gate, and what came of it, for a person; ``with_moved`` lists the hits that have moved."""
    result = ended.get("result") or {}
    if validation := result.get("validation"):
        show_report(validation, console, with_moved=with_moved)
    if ended["state"] != "completed":
        detail = (
            f"{ended['error_code']}: {printable(ended.get('error_message') or '')}" if ended.get("error_code") else ""
        )
        console.print(f"[red]{ended['state']}[/red] {detail}".rstrip(), highlight=False, soft_wrap=True)
        console.print("the generation before goes on serving", highlight=False)
        return
    failed = result.get("documents_failed")
    word = "[yellow]completed with errors[/yellow]" if failed else "[green]completed[/green]"
    parts = [
        f"{result['documents']} documents {LEVELS.get(result.get('level', ''), '')}",
        f"{result['chunks']} chunks, {result['reused_share']:.0%} of them with vectors that were there",
        f"{result['tokens']} tokens embedded",
        f"{result['seconds']:.1f} s",
    ]
    if failed:
        parts.insert(1, f"{failed} of them not as asked for")
    if result.get("documents_outdated"):
        parts.append(f"{result['documents_outdated']} changed at their source since; the next index brings them")
    console.print(f"{word}: {', '.join(parts)}", highlight=False, soft_wrap=True)
    if result.get("level") == "index":
        settings = orjson.dumps(result["index"]).decode()
        console.print(f"settings of the index: {printable(settings)}", highlight=False, soft_wrap=True)
        return
    console.print(
        f"{printable(result['to'])} serves now; back with: vecloom rollback {printable(name)}", soft_wrap=True
    )


def show_rollback(ended: dict[str, Any], name: str, console: Console) -> None:
    """What came of it."""
    result = ended.get("result") or {}
    if ended["state"] != "completed":
        detail = (
            f"{ended['error_code']}: {printable(ended.get('error_message') or '')}" if ended.get("error_code") else ""
        )
        console.print(f"[red]{ended['state']}[/red] {detail}".rstrip(), highlight=False, soft_wrap=True)
        return
    console.print(
        f"[green]completed[/green]: {printable(result['to'])} serves again, with model {printable(result['model'])} and"
        f" chunks of {result['chunk_size']}; {result['documents']} documents, {result['tokens']} tokens embedded",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"forward again with: vecloom rollback {printable(name)}", highlight=False, soft_wrap=True)


def show_rebuild_plan(ended: dict[str, Any], console: Console) -> None:
    """The figures for a person, and one line that sums them up."""
    result = ended["result"]
    if ended["state"] != "completed" or result is None:
        code = ended.get("error_code") or ""
        console.print(f"[red]{ended['state']}[/red] {code} {printable(ended.get('error_message') or '')}".rstrip())
        return
    changes = [
        f"{words} {printable(str(result[f'{key}_now']))} → {printable(str(result[key]))}"
        for key, words in (
            ("model", "model"),
            ("chunk_size", "chunk size"),
            ("chunk_overlap", "overlap"),
            ("chunk_strategy", "chunking"),
            ("index", "index"),
            ("sparse", "words"),
        )
        if result[f"{key}_now"] != result[key]
    ]
    console.print(f"{LEVELS[result['level']]}: {', '.join(changes) or 'as it is'}", highlight=False, soft_wrap=True)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    rows = [
        (result["documents"], "documents"),
        (result["documents_to_extract"], "  to read and extract"),
        (result["documents_to_chunk"], "  to cut"),
        (result["documents_to_embed"], "  to embed"),
        (result["documents_failed"], "  not as asked for"),
        *((count, f"    {code}") for code, count in result["failed_by_code"].items()),
        (result["chunks"], "chunks to write"),
        (result["reused_chunks"], "  with vectors that need not be made"),
        *((result["reuse"][key], f"    {words}") for key, words in _REUSED.items() if result["reuse"].get(key)),
        (result["tokens"], "tokens to embed"),
        (result["disk_bytes"] // 10**6, "MB more disk until the old generation goes (estimate)"),
    ]
    for number, words in rows:
        table.add_row(f"{number:,}".replace(",", " "), printable(words))
    console.print(table)
    console.print(f"estimate: {printable(estimate_line(result))}", soft_wrap=True)
    console.print("nothing was changed", soft_wrap=True)


_REUSED = {**REUSE, "copies": "in the generation that serves"}
