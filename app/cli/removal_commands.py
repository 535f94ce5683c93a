"""The commands that take something away, or try it again."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NoReturn

import typer

from app.cli import commands, removals
from app.cli.client import CliError
from app.cli.running import Data, Json, err, fail, out, print_json, run_command, settings_of


def remove_source(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    source: Annotated[str, typer.Argument(help="The source: its id, URL or path.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Take a source out of a collection, and wait; what other sources have too stays."""
    _end_removal(lambda: removals.remove_source(settings_of(data), name, source, err), as_json=as_json)


def retry_documents(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    ids: Annotated[list[str] | None, typer.Option("--id", help="Only this document; may be given again.")] = None,
    needs_ocr: Annotated[bool, typer.Option("--needs-ocr", help="Scans and pictures too.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Try documents again that failed for a reason that may be gone, and wait."""
    body = {"ids": ids or [], "include_needs_ocr": needs_ocr}
    _end_removal(lambda: removals.retry_documents(settings_of(data), name, body, err), as_json=as_json)


def delete(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Delete a collection for good, and wait until nothing of it is left."""
    try:
        removals.confirm_deletion(name, is_sure=yes)
    except CliError as error:
        fail(error.code, error.detail, as_json=as_json)
    _end_removal(lambda: removals.delete(settings_of(data), name, err), as_json=as_json)


def _end_removal(work: Callable[[], Awaitable[Any]], *, as_json: bool) -> NoReturn:
    ended = run_command(work, as_json=as_json)
    print_json(commands.operation_json(ended)) if as_json else removals.show_ended(ended, out)
    raise typer.Exit(commands.exit_code_of(ended))
