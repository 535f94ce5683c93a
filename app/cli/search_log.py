"""``vecloom search-log``: whether the searches of a collection are written down."""

from typing import Any

from rich.console import Console

from app.cli.client import collection_path
from app.cli.progress import printable
from app.cli.session import open_client
from app.settings import Settings

DEFAULTS: dict[str, Any] = {"share": 1.0, "keep_days": 30}


async def change_search_log(settings: Settings, name: str, wanted: dict[str, Any] | None, *, off: bool) -> Any:  # noqa: ANN401 — JSON
    """Do what was said, and say how it stands then.

    ``wanted`` may hold ``share`` and ``keep_days``; the rest stays as it is. None changes nothing.
    """
    path = collection_path(name, "search-log")
    async with open_client(settings, worker=False) as client:
        if off:
            return await client.call("DELETE", path)
        status = await client.call("GET", path)
        if wanted is None:
            return status
        present = {key: status[key] for key in DEFAULTS if status[key] is not None}
        return await client.call("PUT", path, json={**DEFAULTS, **present, **wanted})


def show_search_log(status: dict[str, Any], console: Console) -> None:
    """How it stands, for a person."""
    name = printable(status["collection"])
    if not status["enabled"]:
        console.print(
            f"{name}: searches are not written down; begin with: vecloom search-log {name} --on", soft_wrap=True
        )
        return
    full = "; full until tomorrow" if status["full_today"] else ""
    console.print(
        f"{name}: {status['share']:.4g} of all searches, kept for {status['keep_days']} days{full}", soft_wrap=True
    )
    newest = f", the newest of {status['newest'][:16].replace('T', ' ')}" if status["newest"] else ""
    console.print(
        f"{status['entries']} searches, {status['queries']} different queries of {status['callers']} users{newest}",
        soft_wrap=True,
    )
