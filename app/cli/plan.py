"""``vecloom index --dry-run``: what indexing would do, take and cost."""

import asyncio
from typing import Any

from rich.console import Console
from rich.table import Table

from app.cli.client import Client, CliError
from app.cli.commands import exit_code_of, follow, operation_path, require_source, to_url
from app.cli.progress import MOST_ERRORS, ProgressView, printable, show_error
from app.cli.session import open_client
from app.settings import Settings

OPTIONS = ("model", "chunk_size", "chunk_overlap")
REUSE = {
    "in_place": "in the collection, unchanged",
    "copies": "copies of documents it has",
    "same_run": "equal to others of this run",
    "cache": "embedded before",
}


async def plan(settings: Settings, path_or_url: str, name: str, options: dict[str, Any], console: Console) -> Any:  # noqa: ANN401 — JSON
    """Have it worked out and wait; Ctrl-C cancels it, for nobody would read what it finds."""
    url = to_url(path_or_url)
    require_source(settings, path_or_url, url)
    globs = {key: options[key] for key in ("include", "exclude", "options", "secrets") if options.get(key)}
    wanted = {key: options[key] for key in OPTIONS if options.get(key) is not None}
    body = {"collection": name, "source": {"url": url, **globs}, **wanted}
    async with open_client(settings) as client:
        operation: dict[str, Any] = await client.call("POST", "/plans", json=body)
        with ProgressView(console) as view:
            try:
                ended = await follow(client, operation, view, [])
            except asyncio.CancelledError:
                await _cancel(client, operation)
                raise CliError("interrupted", "the dry run was cancelled; nothing was changed") from None
    for error in view.errors[:MOST_ERRORS]:
        show_error(error, console)
    if len(view.errors) > MOST_ERRORS:
        console.print(f"… and {len(view.errors) - MOST_ERRORS} more; the table counts them by code", highlight=False)
    return ended


async def _cancel(client: Client, operation: dict[str, Any]) -> None:
    task = asyncio.current_task()
    if task is not None:
        # what is left to do for this command may wait for answers again
        task.uncancel()
    try:
        await client.call("POST", operation_path(operation["operation_id"], "cancel"))
    except CliError as error:
        if error.code != "operation_finished":
            raise


def plan_exit_code(ended: dict[str, Any]) -> int:
    """That of the real command: 0 only if all would be well, 3 with document errors, 1 otherwise."""
    return 1 if (ended["result"] or {}).get("would_fail") else exit_code_of(ended)


def show_plan(ended: dict[str, Any], console: Console) -> None:
    """The figures for a person, and one line that sums them up."""
    result = ended["result"]
    if ended["state"] != "completed" or result is None:
        code = ended.get("error_code") or ""
        console.print(f"[red]{ended['state']}[/red] {code} {printable(ended.get('error_message') or '')}".rstrip())
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for number, words in _rows(result):
        table.add_row(f"{number:,}".replace(",", " "), printable(words))
    console.print(table)
    if result["would_fail"]:
        failure = result["would_fail"]
        console.print(f"[red]would fail[/red] {failure['code']}: {printable(failure['detail'])}", soft_wrap=True)
    console.print(f"estimate: {printable(estimate_line(result))}", soft_wrap=True)
    console.print("nothing was changed", soft_wrap=True)


def _rows(result: dict[str, Any]) -> list[tuple[int, str]]:
    read = f"files ({result['skipped']} skipped)" if result["skipped"] else "files"
    return [
        (result["files"], read),
        (result["documents_added"], "documents new"),
        (result["documents_changed"], "documents changed"),
        (result["unchanged"], "documents unchanged"),
        (result["documents_removed"], "documents gone"),
        (result["documents_failed"], "documents with errors"),
        *((count, f"  {code}") for code, count in result["failed_by_code"].items()),
        (result["needs_ocr"], "documents that need OCR"),
        (result["chunks"], "chunks to write"),
        (result["reused_chunks"], "of them with vectors that need not be made"),
        *((result["reuse"][name], f"  {words}") for name, words in REUSE.items() if result["reuse"].get(name)),
        (result["tokens"], "tokens to embed"),
    ]


def estimate_line(result: dict[str, Any]) -> str:
    """As ``about 12-18 s, 1.2 M tokens, $0.03``, and where the time comes from."""
    estimate, cost = result["estimate"], result["cost"]
    parts = ["time unknown" if estimate["seconds"] is None else f"about {_span(*estimate['seconds'])}"]
    parts.append(f"{_short(result['tokens'])} tokens")
    if cost is not None:
        parts.append(_money(cost["amount"], cost["currency"]))
    by = {
        "collection": "by the collection's last operations",
        "user": "by your last operations with this model",
        "calibration": f"by embedding one batch with {result['model']}",
        None: f"the model does not answer: {estimate['error_code']}" if estimate["error_code"] else None,
    }[estimate["measured_by"]]
    return ", ".join(parts) + (f" ({by})" if by else "")


def _span(low: float, high: float) -> str:
    for unit, seconds in (("h", 3600), ("min", 60)):
        if low >= 2 * seconds:
            return f"{low / seconds:.0f}-{high / seconds:.0f} {unit}"
    return f"{low:.0f}-{high:.0f} s" if high >= 10 else f"{low:.1f}-{high:.1f} s"


def _short(count: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count)


def _money(amount: float, currency: str) -> str:
    """Two digits, or as many as a small amount needs to be more than nothing."""
    text = f"{amount:.2f}" if amount >= 0.01 or amount == 0 else f"{amount:.6f}".rstrip("0").rstrip(".")
    return f"{text} {currency}" if currency.isalnum() else f"{currency}{text}"
