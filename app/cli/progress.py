"""Shows an operation's events: a live bar on a terminal, plain lines elsewhere. Always on stderr."""

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

PLAIN_SECONDS = 2.0
MOST_ERRORS = 10


def printable(text: str, *, keep_lines: bool = False) -> str:
    """Text without control characters, safe for a terminal and for markup; one line unless ``keep_lines``."""
    return escape("".join(char if char.isprintable() or (keep_lines and char == "\n") else "�" for char in text))


def show_error(document: dict[str, Any], console: Console) -> None:
    """One line on a document that failed."""
    message = printable(document["error_message"] or "")
    console.print(
        f"[red]{document['error_code']}[/red] {printable(document['uri'])}: {message}", highlight=False, soft_wrap=True
    )


class ProgressView:
    """What a person sees while an operation runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._printed = 0.0
        self._is_indexing = False
        self.errors: list[dict[str, Any]] = []
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not self._live,
        )
        self._task = self._bar.add_task("waiting", total=None, note="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Take one event."""
        data = event["data"]
        counters = {
            "ingest_progress": self._ingest,
            "reprocessing_progress": self._rebuild,
            "validation_progress": self._validation,
            "verify_progress": self._verify,
            "plan_progress": self._plan,
            "removing_documents": self._removal,
            "delete_progress": self._deletion,
            "benchmark_progress": self._benchmark,
            "projection_fetch_progress": self._fetch,
            "projection_layout_progress": self._layout,
        }
        if event["type"] in counters:
            counters[event["type"]](data)
        elif event["type"] == "document_failed":
            self.errors.append(data)
        elif event["type"] == "scanning_documents" and not self._is_indexing:
            self._say("scanning", f"{data.get('found', 0)} found", often=True)
        elif said := _say_of(event["type"], data):
            self._say(*said)

    def _verify(self, data: dict[str, Any]) -> None:
        self._bar.update(self._task, total=data["total"], completed=data["compared"])
        self._say(data["stage"], "" if self._live else f"{data['compared']}/{data['total']} points", often=True)

    def _removal(self, data: dict[str, Any]) -> None:
        self._count("removing", data["removed"], data["total"], "documents")

    def _deletion(self, data: dict[str, Any]) -> None:
        self._count("deleting", data["done"], data["total"], data["stage"])

    def _benchmark(self, data: dict[str, Any]) -> None:
        means = ", ".join(f"{name} {value:.3f}" for name, value in data["partial_metrics"].items())
        run = f"{data['config']['name']} ({data['run']} of {data['runs']})"
        self._count("measuring", data["query"], data["queries"], f"queries of {run} {means}".rstrip())

    def _fetch(self, data: dict[str, Any]) -> None:
        self._count("fetching", data["fetched"], data["total"], "points")

    def _layout(self, data: dict[str, Any]) -> None:
        self._count("laying out", data["done"], data["total"], f"{data['method']}: {data['stage']}")

    def count(self, what: str, done: int, total: int, of: str) -> None:
        """Show how far something is that no operation does."""
        self._count(what, done, total, of)

    def _count(self, what: str, done: int, total: int, of: str) -> None:
        self._bar.update(self._task, total=total, completed=done)
        self._say(what, of if self._live else f"{done}/{total} {of}", often=True)

    def _plan(self, data: dict[str, Any]) -> None:
        documents = data["documents"]
        self._bar.update(self._task, total=documents["total"], completed=documents["done"])
        note = f"{data['chunks']} chunks, {data['tokens']} tokens to embed"
        self._say(
            "planning", note if self._live else f"{documents['done']}/{documents['total']} read, {note}", often=True
        )

    def _validation(self, data: dict[str, Any]) -> None:
        self._count("validating", data["done"], data["total"], data["stage"])

    def _rebuild(self, data: dict[str, Any]) -> None:
        self._ingest(data, what="rebuilding" if data["stage"] == "build" else "catching up")

    def _ingest(self, data: dict[str, Any], *, what: str = "indexing") -> None:
        documents = data["documents"]
        settled = documents["done"] + documents["failed"] + documents.get("needs_ocr", 0)
        # what is found while others are indexed already is said with them, not in turn
        self._is_indexing = data.get("scanning", False)
        total = f"{documents['total']} so far" if self._is_indexing else documents["total"]
        self._bar.update(self._task, total=None if self._is_indexing else documents["total"], completed=settled)
        eta = data.get("eta_seconds")
        parts = [f"{data['chunks']} chunks", f"{data['rate']['tokens_per_second']:.0f} tokens/s"]
        if eta:
            parts.append(f"{eta[0]:.0f} to {eta[1]:.0f} s left")
        if data.get("limiting_stage"):
            parts.append(f"limited by {data['limiting_stage']}")
        if (workers := data.get("workers", 1)) > 1:
            parts.append(f"on {workers} workers")
        note = ", ".join(parts)
        self._say(what, note if self._live else f"{settled}/{total} documents, {note}", often=True)

    def _say(self, what: str, note: str, *, often: bool = False) -> None:
        self._bar.update(self._task, description=what, note=printable(note))
        if self._live or (often and time.monotonic() - self._printed < PLAIN_SECONDS):
            return
        if often:
            self._printed = time.monotonic()
        self._console.print(f"{what}: {printable(note)}" if note else what, highlight=False, soft_wrap=True)

    def show_errors(self, operation_id: str) -> None:
        """List the first documents that failed."""
        for error in self.errors[:MOST_ERRORS]:
            show_error(error, self._console)
        if len(self.errors) > MOST_ERRORS:
            more = len(self.errors) - MOST_ERRORS
            self._console.print(f"… and {more} more: vecloom ops show {operation_id}", highlight=False)


def _say_of(event: str, data: dict[str, Any]) -> tuple[str, str] | None:
    """What a person reads of an event that happens once: what happened, and a note."""
    said: dict[str, tuple[str, str]] = {
        "operation_queued": ("queued", data.get("why_waiting") or ""),
        "operation_started": ("started", f"attempt {data['attempt']}" if data.get("attempt", 1) > 1 else ""),
        "operation_waiting": ("waiting" if data.get("why_waiting") else "going on", data.get("why_waiting") or ""),
        "operation_paused": ("paused", ""),
        "operation_retrying": ("waiting to try again", f"{data.get('error_code')}, at {data.get('retry_at')}"),
        "validation_complete": ("validated", "passed" if data.get("passed") else "refused"),
        "projection_map": ("drawn", f"{data.get('stage')} map"),
        "switch_completed": ("switched", f"to {data.get('to')}"),
        "scanning_completed": (
            "scanned",
            ", ".join(f"{data.get(name)} {name}" for name in ("new", "changed", "unchanged", "gone")),
        ),
    }
    return said.get(event)
