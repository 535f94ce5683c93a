"""``vecloom sync``: how often a collection is brought up to date by itself, and bringing it up to date now."""

import asyncio
from typing import Any

from rich.console import Console

from app.cli.client import Client, CliError, collection_path
from app.cli.commands import follow
from app.cli.progress import ProgressView, printable
from app.cli.session import open_client
from app.domain.durations import format_duration, parse_duration
from app.domain.syncs import LONGEST_INTERVAL_SECONDS, SHORTEST_INTERVAL_SECONDS
from app.embedded.folder import DataFolder
from app.settings import Settings

POLL_SECONDS = 0.5
MOST_RUNS = 20
COUNTED = (
    ("documents_added", "added"),
    ("documents_changed", "changed"),
    ("documents_removed", "removed"),
    ("documents_kept", "gone but kept"),
    ("documents_failed", "failed"),
)


def parse_interval(text: str) -> int:
    """Seconds of what was said after ``--every``. Raises InvalidDurationError."""
    return parse_duration(text, least=SHORTEST_INTERVAL_SECONDS, most=LONGEST_INTERVAL_SECONDS)


async def change_sync(settings: Settings, name: str, wanted: dict[str, Any]) -> Any:  # noqa: ANN401 — JSON
    """Set what was said, one after the other; how it stands then.

    ``wanted`` may hold ``interval_seconds``, ``mode``, ``off``, ``paused`` and ``on_gone``.
    """
    async with open_client(settings, worker=False) as client:
        status = await client.call("GET", collection_path(name, "sync"))
        for source in status["sources"] if wanted.get("on_gone") else ():
            path = collection_path(name, "sources", source["source_id"])
            await client.call("PATCH", path, json={"on_gone": wanted["on_gone"]})
        if wanted.get("interval_seconds") or wanted.get("mode"):
            await client.call("PUT", collection_path(name, "sync"), json=_settings_of(name, status, wanted))
        if wanted.get("off"):
            await client.call("DELETE", collection_path(name, "sync"))
        if wanted.get("paused") is not None:
            action = "pause" if wanted["paused"] else "resume"
            await client.call("POST", collection_path(name, "sync", action))
        return await client.call("GET", collection_path(name, "sync"))


def _settings_of(name: str, status: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What was said, and the rest as it is."""
    interval = wanted.get("interval_seconds") or status["interval_seconds"]
    if interval is None:
        raise CliError("sync_not_set", f"collection {name!r} has no continuous sync; say how often with --every 15m")
    return {"interval_seconds": interval, "mode": wanted.get("mode") or status["mode"] or "full"}


async def list_runs(settings: Settings, name: str) -> Any:  # noqa: ANN401 — JSON
    """The last sync runs."""
    async with open_client(settings, worker=False) as client:
        return await client.call("GET", collection_path(name, "sync", "runs"), params={"limit": MOST_RUNS})


async def run_sync(settings: Settings, name: str, console: Console, *, confirm_removals: bool) -> Any:  # noqa: ANN401 — JSON
    """Bring all sources up to date now and wait; the ended run."""
    body = {"confirm_removals": confirm_removals}
    async with open_client(settings) as client:
        run = await client.call("POST", collection_path(name, "sync", "run"), json=body)
        try:
            return await _see_through(client, name, run, console)
        except asyncio.CancelledError:
            goes_on = "goes on" if settings.url is not None else "goes on with a running server or the next command"
            raise CliError("interrupted", f"stopped watching; the sync run {goes_on}: vecloom sync {name}") from None


async def _see_through(client: Client, name: str, run: dict[str, Any], console: Console) -> dict[str, Any]:
    for source in run["sources"]:
        if source["state"] == "running":
            with ProgressView(console) as view:
                operation = {"operation_id": source["operation_id"]}
                ended = await follow(client, operation, view, [])
            view.show_errors(ended["operation_id"])
    while run["state"] == "running":
        run = await client.call("GET", collection_path(name, "sync", "runs", run["sync_run_id"]))
        if run["state"] == "running":
            await asyncio.sleep(POLL_SECONDS)
    return run


def exit_code_of(run: dict[str, Any]) -> int:
    """0 only if all sources are up to date, 3 with document errors, 1 otherwise."""
    if run["state"] != "completed":
        return 1
    failed = [(source["result"] or {}).get("documents_failed") for source in run["sources"]]
    return 3 if any(failed) else 0


def is_unattended(settings: Settings) -> bool:
    """Whether nothing runs that would begin the next sync run."""
    return settings.url is None and DataFolder(settings.data).read_server_file() is None


def show_sync(status: dict[str, Any], console: Console) -> None:
    """How it stands, for a person."""
    for line in _settings_lines(status):
        _say(console, line)
    for source in status["sources"]:
        _say(console, f"  {printable(source['url'])}{_trouble_of(source)}")
    for title, run in (("running", status["running"]), ("last run", status["last_run"])):
        if run is not None:
            _say(console, f"{title}: {run_line(run)}")


def _settings_lines(status: dict[str, Any]) -> list[str]:
    name = printable(status["collection"])
    if status["interval_seconds"] is None:
        return [f"{name}: no continuous sync; begin with: vecloom sync {name} --every 15m"]
    mode = "" if status["mode"] == "full" else f", {status['mode']}"
    head = f"{name}: every {format_duration(status['interval_seconds'])}{mode}"
    if status["paused_at"]:
        return [f"{head}, [yellow]paused[/yellow] since {_at(status['paused_at'])}"]
    why = f" ({printable(status['why_waiting'])})" if status["why_waiting"] else ""
    return [f"{head}, next {_at(status['next_due'])}{why}"]


def _trouble_of(source: dict[str, Any]) -> str:
    gone = "" if source["on_gone"] == "remove" else f" (gone documents: {source['on_gone']})"
    if not source["failures"]:
        return gone
    when = f", next try not before {_at(source['next_try'])}" if source["next_try"] else ""
    message = printable(source["error_message"] or "")
    return f"{gone}: [red]failed {source['failures']} times[/red], {source['error_code']}{when}: {message}"


def run_line(run: dict[str, Any]) -> str:
    """What came of a run, in one line."""
    totals = {words: sum((s["result"] or {}).get(key, 0) for s in run["sources"]) for key, words in COUNTED}
    counts = ", ".join(f"{number} {words}" for words, number in totals.items() if number) or "nothing changed"
    color = {"completed": "green", "running": "cyan"}.get(run["state"], "red")
    codes = sorted({s["error_code"] for s in run["sources"] if s["error_code"]})
    trouble = f"; {', '.join(codes)}" if codes else ""
    said = counts if run["state"] != "running" else "under way"
    return f"{_at(run['started_at'])} [{color}]{run['state']}[/{color}] ({run['trigger']}): {said}{trouble}"


def show_runs(answer: dict[str, Any], console: Console) -> None:
    """One line a run, newest first."""
    for run in answer["runs"]:
        _say(console, run_line(run))
    if not answer["runs"]:
        _say(console, "no sync run yet")


def show_ended(run: dict[str, Any], console: Console) -> None:
    """What a run that was waited for came to."""
    _say(console, run_line(run))
    for source in run["sources"]:
        if source["state"] == "failed":
            _say(console, f"  {printable(source['url'])}: {printable(source['error_message'] or source['error_code'])}")


def _at(time: str) -> str:
    return time[:19].replace("T", " ") + "Z"


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)
