"""``vecloom index --watch``: follows a local folder by file events and brings every change in."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from app.cli.client import Client, CliError, ServerGoneError, collection_path
from app.cli.commands import operation_json, require_source, start_index, to_url
from app.cli.progress import ProgressView, printable
from app.cli.session import open_client
from app.domain.errors import DomainError
from app.settings import Settings
from app.sources.directory import resolve_source_path
from app.sources.events import FolderEvents

PASSING = frozenset({"dependency_unavailable"})
"""Errors of the server, beside its absence, after which a watch goes on."""

AGAIN_SECONDS = 60.0
"""After an operation failed in a way that may pass, it is tried again without any event."""

RECONNECT_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(slots=True)
class Watched:
    """What came of a watch so far: the last operation that ended, and how many ended."""

    last: dict[str, Any] | None = None
    updates: int = 0
    unfinished: str | None = None


async def watch(settings: Settings, path: str, name: str, options: dict[str, Any], console: Console) -> Any:  # noqa: ANN401 — JSON
    """Index, then index again whenever something changes, until Ctrl-C; gives the last operation.

    Raises:
        CliError: if the path is not on this machine, or the first operation was interrupted.
    """
    root = _local_root(settings, path)
    watched = Watched()
    async with _stopping() as stop, FolderEvents(root, ignored=[settings.data]) as events:
        events.touch()
        await _keep_up(settings, to_url(path), name, options, Follower(console, events, stop, watched))
    if watched.last is None or watched.unfinished is not None:
        detail = "stopped; an operation under way goes on with a running server or the next command"
        raise CliError("interrupted", detail)
    return {**watched.last, "updates": watched.updates}


def _local_root(settings: Settings, path: str) -> Path:
    url = to_url(path)
    require_source(settings, path, url)
    try:
        root = resolve_source_path(url)
    except DomainError as error:
        raise CliError(
            "watch_not_local", f"only a folder or file of this machine can be watched: {error.message}"
        ) from error
    if not root.exists():
        raise CliError("source_not_found", f"there is no {root} on this machine; nothing was created")
    return root


@asynccontextmanager
async def _stopping() -> AsyncIterator[asyncio.Event]:
    """An event that Ctrl-C and a polite kill set; a second one cancels what is still being put away."""
    stop = asyncio.Event()
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def ask() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    yield stop


class Follower:
    """One watch: waits for changes, has them indexed, and says what came of it."""

    def __init__(self, console: Console, events: FolderEvents, stop: asyncio.Event, watched: Watched) -> None:
        self._console = console
        self._events = events
        self._stop = stop
        self._watched = watched
        self._is_first = True

    @property
    def updates(self) -> int:
        """How many operations have ended."""
        return self._watched.updates

    def honour(self, source: dict[str, Any]) -> None:
        """Wait for what a scan of this source would read."""
        self._events.gitignore = bool(source["options"].get("gitignore"))

    @property
    def is_stopped(self) -> bool:
        """Whether somebody wants it to end."""
        return self._stop.is_set()

    async def follow(self, client: Client, start: Callable[[Client], Awaitable[dict[str, Any]]]) -> None:
        """Index each time something has changed, until somebody wants it to end.

        Raises:
            ServerGoneError: if the server goes away; the change is not forgotten.
        """
        while await self._until_changed():
            try:
                operation = await start(client)
                self._watched.unfinished = operation["operation_id"]
                ended = await self._see_through(client, operation)
            except CliError as error:
                self._events.touch()
                if error.code in PASSING:
                    raise ServerGoneError(error.code, error.detail) from error
                raise
            if ended is None:
                return
            self._watched.unfinished = None
            self._watched.last = ended
            self._watched.updates += 1
            self._tell(ended)

    async def _until_changed(self) -> bool:
        """Wait for a change, or the time to try again, with the folder there; False if somebody wants it to end."""
        while await self._wait():
            # before the look: what comes after it is another change
            self._events.clear()
            if not await self._events.is_gone():
                return True
            self.say("the folder is gone; nothing was removed from the collection, waiting for the folder to come back")
        return False

    async def _wait(self) -> bool:
        last = self._watched.last
        patience = AGAIN_SECONDS if last is not None and last.get("retryable") else None
        waits = {asyncio.ensure_future(self._stop.wait()), asyncio.ensure_future(self._events.wait())}
        try:
            await asyncio.wait(waits, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return not self._stop.is_set()

    async def _see_through(self, client: Client, operation: dict[str, Any]) -> dict[str, Any] | None:
        """Follow an operation to its end; None if somebody wants the watch to end before."""
        showing = asyncio.ensure_future(self._show(client, operation))
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({showing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not showing.done():
                showing.cancel()
                with suppress(asyncio.CancelledError):
                    await showing
        return None if showing.cancelled() else showing.result()

    async def _show(self, client: Client, operation: dict[str, Any]) -> dict[str, Any]:
        with ProgressView(self._console) as view:
            async for event in client.watch(operation["operation_id"]):
                if self._is_first or event["type"] == "document_failed":
                    view.show(event)
        ended: dict[str, Any] = await client.call("GET", f"/operations/{operation['operation_id']}")
        view.show_errors(ended["operation_id"])
        return ended

    def _tell(self, ended: dict[str, Any]) -> None:
        line = update_line(ended)
        if line or self._is_first:
            self.say(line or "nothing has changed")
        if self._is_first:
            self.say("watching for changes; Ctrl-C ends it")
        self._is_first = False

    def say(self, text: str) -> None:
        """One line with the time."""
        self._console.print(f"{datetime.now().astimezone():%H:%M:%S} {text}", highlight=False, soft_wrap=True)

    async def pause(self, seconds: float) -> None:
        """Wait, unless somebody wants it to end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()


async def _keep_up(settings: Settings, url: str, name: str, options: dict[str, Any], follower: Follower) -> None:
    """Follow over one server after another: if it goes away, another one is found or started."""

    async def start(client: Client) -> dict[str, Any]:
        if not follower.updates:
            operation = await start_index(client, name, url, options)
            if (source := await _find_source(client, name, url)) is not None:
                follower.honour(source)
            return operation
        source = await _find_source(client, name, url)
        if source is None:
            raise CliError("source_unknown", f"somebody has removed {url} from collection {name!r}")
        follower.honour(source)
        return await _start_update(client, name, source)

    failures = before = 0
    while not follower.is_stopped:
        try:
            async with open_client(settings) as client:
                await follower.follow(client, start)
        except ServerGoneError as error:
            if not follower.updates:
                raise
            failures = failures + 1 if follower.updates == before else 0
            before = follower.updates
            follower.say(f"[yellow]{error.code}[/yellow]: {printable(error.detail)}; trying again")
            await follower.pause(RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS) - 1)])


async def _find_source(client: Client, name: str, url: str) -> dict[str, Any] | None:
    sources = (await client.call("GET", collection_path(name, "sources")))["sources"]
    return next((source for source in sources if source["url"] == url), None)


async def _start_update(client: Client, name: str, source: dict[str, Any]) -> dict[str, Any]:
    """The APPEND of a source that was there before: a collection that somebody has deleted is not made again."""
    request = {"kind": "APPEND", "config": {"source_id": source["id"], "mode": "full"}}
    operation: dict[str, Any] = await client.call("POST", collection_path(name, "operations"), json=request)
    return operation


def watch_json(ended: dict[str, Any]) -> dict[str, Any]:
    """The contract's object of an operation, and how many there were."""
    return {**operation_json(ended), "updates": ended["updates"]}


def update_line(ended: dict[str, Any]) -> str:
    """What an operation changed, or why it failed; empty if there is nothing to say."""
    if ended["state"] != "completed":
        message = printable(ended.get("error_message") or "")
        return f"[red]{ended['state']}[/red] {ended.get('error_code') or ''}: {message}"
    result = ended["result"]
    names = {"documents_added": "added", "documents_changed": "changed", "documents_removed": "removed"}
    parts = [f"{result[key]} {word}" for key, word in names.items() if result[key]]
    if not parts:
        return ""
    if result["documents_failed"]:
        parts.append(f"{result['documents_failed']} failed")
    return f"[green]updated[/green]: {', '.join(parts)} ({result['seconds']:.1f} s)"
