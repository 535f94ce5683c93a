"""``vecloom audit``: who changed what."""

from typing import Any

from rich.console import Console

from app.cli.progress import printable
from app.cli.session import open_client
from app.settings import Settings

MOST_A_PAGE = 1000


async def list_audit(settings: Settings, collection: str | None, limit: int) -> Any:  # noqa: ANN401 — JSON
    """The newest changes, page by page."""
    chosen = {} if collection is None else {"collection": collection}
    entries: list[dict[str, Any]] = []
    async with open_client(settings, worker=False) as client:
        query: dict[str, Any] = {**chosen, "limit": min(limit, MOST_A_PAGE)}
        while True:
            page = await client.call("GET", "/audit", params=query)
            entries += page["entries"]
            left = limit - len(entries)
            if left <= 0 or page["next"] is None:
                return {"entries": entries}
            query |= {"after": page["next"], "limit": min(left, MOST_A_PAGE)}


def show_audit(answer: dict[str, Any], console: Console) -> None:
    """One line a change, newest first; no line is cut, whatever the width of the terminal."""
    rows = [("when", "who", "what", "collection", "which")]
    rows += [_row(entry) for entry in answer["entries"]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True))
        console.print(printable(line.rstrip()), highlight=False, soft_wrap=True)


def _row(entry: dict[str, Any]) -> tuple[str, str, str, str, str]:
    actor, subject = entry["actor"], entry["subject"]
    who = " ".join(part for part in (actor["name"] or actor["kind"], actor["address"]) if part)
    state = (entry["after"] or {}).get("state")
    what = f"{entry['action']} ({state})" if state else entry["action"]
    which = subject["name"] or ""
    if subject["kind"] == "operation":
        which = f"{which} {subject['id']}"
    return entry["at"][:19].replace("T", " "), who, what, entry["collection"] or "", which
