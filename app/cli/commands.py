"""What each command does, over a client."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from app.cli.client import Client, CliError, ServerGoneError, collection_path
from app.cli.progress import ProgressView, printable, show_error
from app.cli.session import open_client
from app.cli.validation import show_report
from app.settings import Settings
from app.sources.kinds import split_login

TAKEOVERS = 3
MOST_DOCUMENTS = 100
POLL_SECONDS = 0.5
FINAL_STATES = frozenset({"completed", "failed", "cancelled"})
SHOWN = (
    "operation_id",
    "kind",
    "collection",
    "state",
    "why_waiting",
    "error_code",
    "error_message",
    "retryable",
    "attempt",
    "worker",
    "created_at",
    "started_at",
    "finished_at",
)
"""What ``ops show`` tells of an operation, beside its result."""
MOST_OPERATIONS = 50


def to_url(path_or_url: str) -> str:
    """A local path as an absolute ``file:`` URL; a URL stays as it is."""
    if "://" in path_or_url or path_or_url.lower().startswith("file:"):
        return path_or_url
    return _expand(path_or_url).absolute().as_uri()


def _expand(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise CliError("invalid_input", f"{path} begins with ~ and the name of a user that is not known") from None


def _exists(path: str) -> bool:
    return os.path.exists(_expand(path))  # noqa: PTH110 — False, not an error, for a name that is too long


def require_source(settings: Settings, path_or_url: str, url: str) -> None:
    """Raise a CliError for a path that is not there, unless a server elsewhere has to look."""
    if settings.url is None and url != path_or_url and not _exists(path_or_url):
        raise CliError("source_not_found", f"there is no {path_or_url}; nothing was created")


async def start_index(client: Client, name: str, url: str, options: dict[str, Any]) -> dict[str, Any]:
    """The operation that brings ``url`` into the collection: INDEX if it is missing, else APPEND.

    Raises:
        CliError: ``option_conflict`` if the collection or the source exists and is not as the options say.
    """
    globs = {key: options[key] for key in ("include", "exclude", "on_gone", "options") if options.get(key)}
    shown, login = split_login(url)
    secrets = {**login, **options.get("secrets", {})}
    source = {"url": shown, **globs, **({"secrets": secrets} if secrets else {})}
    created = await find_or_create(client, name, [source], options)
    if created is not None:
        return created
    sources = (await client.call("GET", collection_path(name, "sources")))["sources"]
    known = next((item for item in sources if item["url"] == shown), None)
    if known is None:
        known = await client.call("POST", collection_path(name, "sources"), json=source)
    else:
        _check_options("this source of the collection", known, globs)
        if secrets:
            # whoever says them again may have new ones
            await client.call("PATCH", collection_path(name, "sources", known["id"]), json={"secrets": secrets})
    config = {"source_id": known["id"], "mode": "full"}
    if options.get("confirm_removals"):
        config["confirm_removals"] = True
    request = {"kind": "APPEND", "config": config}
    operation: dict[str, Any] = await client.call("POST", collection_path(name, "operations"), json=request)
    return operation


async def find_or_create(
    client: Client, name: str, sources: list[dict[str, Any]], options: dict[str, Any]
) -> dict[str, Any] | None:
    """The INDEX operation of a new collection with these sources, or None if there is the collection already.

    Raises:
        CliError: ``option_conflict`` if it is not as the options say.
    """
    keys = ("model", "chunk_size", "chunk_overlap", "chunk_strategy", "sparse")
    wanted = {key: options[key] for key in keys if options.get(key) is not None}
    collection = await client.find_collection(name)
    if collection is None:
        body = {"name": name, "sources": sources, **wanted}
        try:
            created: dict[str, Any] = (await client.call("POST", "/collections", json=body))["operation"]
        except CliError as error:
            if error.code != "collection_exists":  # another command was faster
                raise
            collection = await client.find_collection(name)
        else:
            return created
    chunking = collection["chunking"]
    present = {
        "model": collection["model"],
        "chunk_size": chunking["size"],
        "chunk_overlap": chunking["overlap"],
        "chunk_strategy": chunking["strategy"],
        "sparse": collection.get("sparse_settings", {}),
    }
    _check_options(f"collection {name!r}", present, wanted)
    return None


def _check_options(what: str, present: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        if present[key] != value:
            detail = f"{what} has {key} {present[key]!r} already, not {value!r}; leave the option out"
            raise CliError("option_conflict", f"{detail}, or name another collection")


async def follow(client: Client, operation: dict[str, Any], view: ProgressView, seen: list[str]) -> dict[str, Any]:
    """Show events to the end; gives the ended operation. ``seen`` keeps the last event's id."""
    async for event in client.watch(operation["operation_id"], after=seen[-1] if seen else None):
        seen[:] = [event["id"]]
        view.show(event)
    ended: dict[str, Any] = await client.call("GET", f"/operations/{operation['operation_id']}")
    return ended


async def index(settings: Settings, path_or_url: str, name: str, options: dict[str, Any], console: Console) -> Any:  # noqa: ANN401 — JSON
    """Index and wait; see ``see_through``."""
    url = to_url(path_or_url)
    require_source(settings, path_or_url, url)
    ended = await see_through(settings, lambda client: start_index(client, name, url, options), console)
    summarise(ended, name, console)
    return ended


async def see_through(
    settings: Settings,
    begin: Callable[[Client], Awaitable[dict[str, Any]]],
    console: Console,
    *,
    conclude: Callable[[Client, dict[str, Any]], Awaitable[None]] | None = None,
) -> dict[str, Any]:
    """Begin an operation and wait, with its progress and the first documents that failed.

    ``conclude`` is what is still to be done with the server once the operation has ended. If the server that runs it
    goes away, another one is found or started and it goes on.
    """
    operation: dict[str, Any] | None = None
    seen: list[str] = []
    with ProgressView(console) as view:
        for takeover in range(TAKEOVERS):
            try:
                async with open_client(settings) as client:
                    operation = operation or await begin(client)
                    ended = await follow(client, operation, view, seen)
                    if conclude is not None:
                        await conclude(client, ended)
                break
            except ServerGoneError:
                if operation is None or settings.url is not None or takeover == TAKEOVERS - 1:
                    raise
            except asyncio.CancelledError:
                if operation is None:
                    raise
                raise interrupted(settings, operation) from None
    view.show_errors(ended["operation_id"])
    return ended


def interrupted(settings: Settings, operation: dict[str, Any]) -> CliError:
    """What Ctrl-C says once there is an operation."""
    goes_on = "goes on" if settings.url is not None else "goes on with a running server or the next command"
    watch = f"vecloom ops watch {operation['operation_id']}"
    return CliError("interrupted", f"stopped watching; the operation {goes_on}, see it through with: {watch}")


def summarise(ended: dict[str, Any], name: str, console: Console) -> None:
    """What came of it, for a person."""
    result = ended.get("result") or {}
    if ended["state"] != "completed":
        detail = (
            f"{ended.get('error_code')}: {printable(ended.get('error_message') or '')}"
            if ended.get("error_code")
            else ""
        )
        console.print(f"[red]{ended['state']}[/red] {detail}", highlight=False, soft_wrap=True)
        if ended.get("error_code"):
            console.print(f"try again with: vecloom ops retry {ended['operation_id']}", highlight=False)
        return
    failed = result["documents_failed"]
    word = "[yellow]completed with errors[/yellow]" if failed else "[green]completed[/green]"
    parts = [
        f"{result['documents_added']} added",
        f"{result['documents_changed']} changed",
        f"{result['documents_removed']} removed",
        f"{result['unchanged']} unchanged",
        f"{failed} failed",
    ]
    if result.get("documents_kept"):
        parts.append(f"{result['documents_kept']} gone but kept")
    if result["needs_ocr"]:
        parts.append(f"{result['needs_ocr']} need OCR")
    console.print(
        f"{word}: {', '.join(parts)}; {result['chunks']} chunks, {result['tokens']} tokens, {result['seconds']:.1f} s",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f'next: vecloom search {printable(name)} "your question"', highlight=False, soft_wrap=True)


def exit_code_of(operation: dict[str, Any]) -> int:
    """0 only if all is well, 3 with document errors or files that could not be sent, 1 otherwise."""
    if operation["state"] != "completed":
        return 1
    return 3 if (operation.get("result") or {}).get("documents_failed") or operation.get("not_sent") else 0


def operation_json(operation: dict[str, Any]) -> dict[str, Any]:
    """The contract's object of a waited-for operation."""
    shown = {key: operation[key] for key in ("operation_id", "collection_id", "state", "result")}
    if "sent" in operation:
        shown |= {key: operation[key] for key in ("sent", "sent_before", "not_sent")}
    if operation.get("error_code"):
        shown["error"] = {"code": operation["error_code"], "detail": operation["error_message"]}
    return shown


def operation_path(operation_id: str, *rest: str) -> str:
    """Path of an operation, or of something below it; any text is safe in it."""
    return "/".join(["/operations", quote(operation_id, safe=""), *rest])


async def list_operations(settings: Settings) -> Any:  # noqa: ANN401 — JSON
    """The newest operations."""
    async with open_client(settings, worker=False) as client:
        return await client.call("GET", "/operations", params={"limit": MOST_OPERATIONS})


async def follow_operation(settings: Settings, action: str, operation_id: str, console: Console) -> Any:  # noqa: ANN401 — JSON
    """Watch an operation to its end; ``cancel`` or ``retry`` it before."""
    async with open_client(settings) as client:
        if action == "watch":
            operation = await client.call("GET", operation_path(operation_id))
        else:
            operation = await client.call("POST", operation_path(operation_id, action))
        with ProgressView(console) as view:
            return await follow(client, operation, view, [])


async def hold_operation(settings: Settings, action: str, operation_id: str) -> Any:  # noqa: ANN401 — JSON
    """Pause an operation, or let it go on; a running one that is paused is waited for until it has stopped."""
    async with open_client(settings) as client:
        operation = await client.call("POST", operation_path(operation_id, action))
        while action == "pause" and operation["state"] == "running":
            await asyncio.sleep(POLL_SECONDS)
            operation = await client.call("GET", operation_path(operation_id))
        return operation


async def hold_collection(settings: Settings, action: str, name: str) -> Any:  # noqa: ANN401 — JSON
    """Pause a collection, or let its operations go on."""
    async with open_client(settings, worker=False) as client:
        return await client.call("POST", collection_path(name, action))


def show_held(operation: dict[str, Any], console: Console) -> None:
    """What a paused or resumed operation does now; one that has ended did so before it reached a checkpoint."""
    why = f": {printable(operation['why_waiting'])}" if operation["why_waiting"] else ""
    if operation["state"] in FINAL_STATES:
        why = ": it ended before it could be paused"
    console.print(f"{operation['operation_id']} {operation['state']}{why}", highlight=False, soft_wrap=True)


def list_json(answer: dict[str, Any]) -> dict[str, Any]:
    """The contract's object of a list of operations."""
    keys = ("operation_id", "kind", "state", "collection", "created_at", "progress", "why_waiting")
    return {"operations": [{key: operation[key] for key in keys} for operation in answer["operations"]]}


async def inspect_operation(
    settings: Settings, operation_id: str, *, with_documents: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An operation, and documents of its collection that could not be indexed (at most 100 of each state)."""
    failed: list[dict[str, Any]] = []
    async with open_client(settings, worker=False) as client:
        operation: dict[str, Any] = await client.call("GET", operation_path(operation_id))
        # a dry run has found documents, but none of them is in a collection
        if with_documents and operation["kind"] not in ("PLAN", "DELETE") and operation["collection_id"]:
            failed = await _list_failed(client, operation["collection_id"])
    return operation, failed


async def _list_failed(client: Client, collection_id: str) -> list[dict[str, Any]]:
    """Documents that could not be indexed; none of a collection that is deleted."""
    failed: list[dict[str, Any]] = []
    for state in ("failed", "needs_ocr"):
        query = {"state": state, "limit": MOST_DOCUMENTS}
        try:
            failed += (await client.call("GET", collection_path(collection_id, "documents"), params=query))["documents"]
        except CliError as error:
            if error.code != "collection_not_found":
                raise
    return failed


def show_operation(operation: dict[str, Any], failed: list[dict[str, Any]], console: Console) -> None:
    """One operation, and what could not be indexed, for a person."""
    table = Table(box=None, show_header=False)
    for name in SHOWN:
        if operation[name] is not None:
            table.add_row(name.replace("_", " "), printable(str(operation[name])))
    for name, value in (operation["result"] or {}).items():
        if isinstance(value, (int, float, str)):
            table.add_row(name.replace("_", " "), printable(f"{value:.1f}" if isinstance(value, float) else str(value)))
    console.print(table)
    if validation := (operation["result"] or {}).get("validation"):
        console.print()
        show_report(validation, console, with_moved=False)
    if failed:
        console.print("\ndocuments of the collection that could not be indexed:")
    for document in failed:
        show_error(document, console)


def show_operations(answer: dict[str, Any], console: Console) -> None:
    """One line an operation, with its whole id; no line is cut, whatever the width of the terminal."""
    rows = [("operation", "kind", "state", "since", "collection", "why waiting")]
    for operation in answer["operations"]:
        since = operation["created_at"][5:16].replace("T", " ")
        why = operation["why_waiting"] or operation["error_code"] or ""
        rows.append(
            (operation["operation_id"], operation["kind"], operation["state"], since, operation["collection"], why)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True))
        console.print(printable(line.rstrip()), highlight=False, soft_wrap=True)
