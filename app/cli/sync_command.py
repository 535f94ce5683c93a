"""The command ``vecloom sync``."""

from typing import Annotated, Any

import typer

from app.cli import sync as syncs
from app.cli.running import Data, Json, err, fail, out, print_json, run_command, settings_of
from app.domain.syncs import AppendMode, OnGone
from app.settings import Settings


def sync(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    every: Annotated[str | None, typer.Option(help="How often, as 15m, 2h or 1d.")] = None,
    mode: Annotated[AppendMode | None, typer.Option(help="incremental removes nothing.")] = None,
    off: Annotated[bool, typer.Option("--off", help="No more.")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Not until --resume.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Again, after --pause.")] = False,
    on_gone: Annotated[OnGone | None, typer.Option(help="What its sources do with documents that are gone.")] = None,
    now: Annotated[bool, typer.Option("--now", help="Bring all sources up to date now, and wait.")] = False,
    confirm_removals: Annotated[
        bool, typer.Option("--confirm-removals", help="The same, and remove what is gone, be it most.")
    ] = False,
    history: Annotated[bool, typer.Option("--history", help="The last runs.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Have a collection brought up to date by itself; without options, say how it stands."""
    run_now = now or confirm_removals
    wanted: dict[str, Any] = {
        "interval_seconds": None if every is None else run_command(lambda: _parse(every), as_json=as_json),
        "mode": None if mode is None else mode.value,
        "off": off or None,
        "paused": pause if pause or resume else None,
        "on_gone": None if on_gone is None else on_gone.value,
    }
    wanted = {key: value for key, value in wanted.items() if value is not None}
    if off + pause + resume + history + run_now > 1 or (off and len(wanted) > 1) or (history and wanted):
        fail("invalid_usage", "these options contradict each other; see vecloom sync --help", as_json=as_json)
    settings = settings_of(data)
    if history:
        _show_history(settings, name, as_json=as_json)
        return
    if wanted or not run_now:
        _show_status(settings, name, wanted, is_last=not run_now, as_json=as_json)
    if run_now:
        _run_now(settings, name, confirm_removals=confirm_removals, as_json=as_json)


async def _parse(every: str) -> int:
    return syncs.parse_interval(every)


def _show_history(settings: Settings, name: str, *, as_json: bool) -> None:
    answer = run_command(lambda: syncs.list_runs(settings, name), as_json=as_json)
    print_json(answer) if as_json else syncs.show_runs(answer, out)


def _show_status(settings: Settings, name: str, wanted: dict[str, Any], *, is_last: bool, as_json: bool) -> None:
    """Change what was said, and tell how it stands unless more is told afterwards."""
    status = run_command(lambda: syncs.change_sync(settings, name, wanted), as_json=as_json)
    if is_last:
        print_json(status) if as_json else syncs.show_sync(status, out)
        if wanted.get("interval_seconds") and syncs.is_unattended(settings):
            err.print("begins while a server runs; start one with: vecloom up")


def _run_now(settings: Settings, name: str, *, confirm_removals: bool, as_json: bool) -> None:
    run = run_command(lambda: syncs.run_sync(settings, name, err, confirm_removals=confirm_removals), as_json=as_json)
    print_json(run) if as_json else syncs.show_ended(run, out)
    raise typer.Exit(syncs.exit_code_of(run))
