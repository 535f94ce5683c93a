"""The commands that look after a server: what it does by itself, whom it tells, what it holds, who changed it."""

from enum import StrEnum
from typing import Annotated

import typer

from app.cli import audit as auditing
from app.cli import jobs as periodic
from app.cli import search_log as logging_searches
from app.cli import stats as statistics
from app.cli import webhooks as telling
from app.cli.running import Data, Json, fail, out, print_json, run_command, settings_of
from app.domain.searches import LONGEST_KEPT_DAYS
from app.domain.webhooks import WebhookEvent


class JobAction(StrEnum):
    """What to do with periodic jobs."""

    LIST = "list"
    RUN = "run"


def audit(
    name: Annotated[str | None, typer.Argument(help="Only this collection, by its name or id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most changes.")] = 50,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say who changed what, when and from where, newest first."""
    answer = run_command(lambda: auditing.list_audit(settings_of(data), name, limit), as_json=as_json)
    print_json(answer) if as_json else auditing.show_audit(answer, out)


def webhooks(
    action: Annotated[telling.Action, typer.Argument(help="What to do.")] = telling.Action.LIST,
    subject: Annotated[str | None, typer.Argument(help="A webhook's id; for `add`, the URL.")] = None,
    delivery: Annotated[str | None, typer.Argument(help="For `redeliver`, which delivery.")] = None,
    event: Annotated[list[WebhookEvent] | None, typer.Option(help="For `add`: only these ends.")] = None,
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="For `add`: only of this one.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Have other programs told when operations end."""
    options = {"events": event, "collection": collection}
    answer = run_command(
        lambda: telling.perform(settings_of(data), action, subject, delivery, options), as_json=as_json
    )
    print_json(answer) if as_json else telling.show(action, answer, out)
    raise typer.Exit(telling.exit_code_of(action, answer))


def stats(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    days: Annotated[int, typer.Option(min=1, max=400, help="How far back its growth goes.")] = 30,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say what a collection holds, and how it has grown."""
    answer = run_command(lambda: statistics.read_stats(settings_of(data), name, days=days), as_json=as_json)
    print_json(answer) if as_json else statistics.show_stats(answer, out)


def search_log(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    on: Annotated[bool, typer.Option("--on", help="Write searches down from now on.")] = False,
    days: Annotated[int | None, typer.Option(min=1, max=LONGEST_KEPT_DAYS, help="How long each is kept [30].")] = None,
    share: Annotated[float | None, typer.Option(min=0, max=1, help="Of all searches, by chance [1].")] = None,
    off: Annotated[bool, typer.Option("--off", help="No more, and delete what was written.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Have the searches of a collection written down; without options, say how it stands."""
    given = {"keep_days": days, "share": share}
    wanted = {key: value for key, value in given.items() if value is not None}
    if (off and on) or (wanted and not on):
        fail("invalid_usage", "--days and --share go with --on, and --off goes alone", as_json=as_json)
    status = run_command(
        lambda: logging_searches.change_search_log(settings_of(data), name, wanted if on else None, off=off),
        as_json=as_json,
    )
    print_json(status) if as_json else logging_searches.show_search_log(status, out)


def jobs(
    action: Annotated[JobAction, typer.Argument(help="list or run.")] = JobAction.LIST,
    name: Annotated[str | None, typer.Argument(help="Which periodic job.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Look at what the server does again and again, or do it now; exit code 1 if that fails."""
    if action is JobAction.LIST:
        answer = run_command(lambda: periodic.list_jobs(settings_of(data)), as_json=as_json)
        print_json(answer) if as_json else periodic.show_jobs(answer, out)
        return
    if name is None:
        fail("missing_argument", "say which job: vecloom jobs run NAME; `vecloom jobs` lists them", as_json=as_json)
    ended = run_command(lambda: periodic.run_job(settings_of(data), name, dry_run=dry_run), as_json=as_json)
    print_json(ended) if as_json else periodic.show_round(ended, out)
    raise typer.Exit(0 if ended["state"] == "completed" else 1)
