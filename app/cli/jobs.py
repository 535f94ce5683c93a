"""``vecloom jobs``: what is done again and again, and by hand."""

import asyncio
from typing import Any

from rich.console import Console
from rich.table import Table

from app.cli.progress import printable
from app.cli.session import open_client
from app.settings import Settings

POLL_SECONDS = 1.0
MINUTE, HOUR, DAY = 60, 3600, 86_400


async def list_jobs(settings: Settings) -> Any:  # noqa: ANN401 — JSON
    """All periodic jobs."""
    async with open_client(settings, worker=False) as client:
        return await client.call("GET", "/admin/jobs")


async def run_job(settings: Settings, name: str, *, dry_run: bool) -> Any:  # noqa: ANN401 — JSON
    """Do one now, and wait for its end."""
    async with open_client(settings, worker=False) as client:
        answer = await client.call("POST", f"/admin/jobs/{name}/run", json={"dry_run": dry_run})
        while answer["state"] == "running":
            await asyncio.sleep(POLL_SECONDS)
            answer = await client.call("GET", f"/admin/jobs/{name}/rounds/{answer['id']}")
        return answer


def show_jobs(answer: dict[str, Any], console: Console) -> None:
    """A table for a person."""
    table = Table(box=None, pad_edge=False)
    for column in ("job", "every", "last done", "took", "next", "state"):
        table.add_column(column)
    for job in answer["jobs"]:
        took = "" if job["last_seconds"] is None else f"{job['last_seconds']:.1f} s"
        last, following = _moment(job["last_success_at"]), _moment(job["next_run_at"])
        table.add_row(job["name"], _period(job["every_seconds"]), last, took, following, _state(job))
    console.print(table)


def show_round(answer: dict[str, Any], console: Console) -> None:
    """What a round did, or would do."""
    if answer["state"] != "completed":
        console.print(
            f"[red]{answer['job']} failed[/red] \\[{answer['error_code']}]: {printable(answer['error_message'] or '')}",
            soft_wrap=True,
        )
        return
    words = "would do" if answer["dry_run"] else "has done"
    console.print(f"{answer['job']} {words} this in {answer['seconds']:.1f} s:")
    for name, value in (answer["result"] or {}).items():
        console.print(f"  {printable(name)}: {printable(str(value))}", soft_wrap=True)


def _state(job: dict[str, Any]) -> str:
    if job["running"]:
        return "running"
    if job["last_error_code"]:
        return f"[red]failed[/red] ({job['last_error_code']})"
    return "[red]missed[/red]" if job["missed"] else "ok" if job["last_success_at"] else "not yet"


def _moment(at: str | None) -> str:
    return "" if at is None else at.replace("T", " ")[:16]


def _period(seconds: float) -> str:
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"
