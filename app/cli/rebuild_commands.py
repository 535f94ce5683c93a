"""The commands that rebuild a collection and go back, as the command line takes them."""

from typing import Annotated

import typer

from app.cli import commands, rebuilds
from app.cli.client import CliError
from app.cli.plan import plan_exit_code
from app.cli.running import Data, Json, err, fail, out, print_json, run_command, settings_of
from app.domain.documents import ChunkingStrategy


def reindex(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    model: Annotated[str | None, typer.Option(help="Another embedding model.")] = None,
    chunk_size: Annotated[int | None, typer.Option(help="Tokens in a chunk.")] = None,
    chunk_overlap: Annotated[int | None, typer.Option(help="Tokens shared by neighbouring chunks.")] = None,
    chunking: Annotated[ChunkingStrategy | None, typer.Option(help="Where texts are cut.")] = None,
    extract: Annotated[bool, typer.Option("--extract", help="Read and extract all documents again.")] = False,
    index: Annotated[
        str | None, typer.Option(help="Settings of the index that change, as JSON; docs/reindex.md.")
    ] = None,
    sparse: Annotated[
        str | None, typer.Option(help="Settings of the words that change, as JSON; docs/search.md.")
    ] = None,
    gate: Annotated[str | None, typer.Option(help="default, strict, report-only, or JSON; docs/reindex-gate.md.")] = (
        None
    ),
    keep_refused: Annotated[bool, typer.Option("--keep-refused", help="Keep what the gate refuses.")] = False,
    watch_minutes: Annotated[
        int | None, typer.Option(help="Go back by itself if searches get worse within so many minutes.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do, take and cost.")] = False,
    moved: Annotated[bool, typer.Option("--moved", help="List the queries whose hits have moved most.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Rebuild a collection beside the one that serves, and switch if the new one is as good; wait."""
    try:
        policy, settings, words = rebuilds.read_gate(gate), rebuilds.read_index(index), rebuilds.read_sparse(sparse)
    except CliError as error:
        fail(error.code, error.detail, as_json=as_json)
    said = {
        "model": model,
        "chunk_size": chunk_size,
        "chunk_overlap": chunk_overlap,
        "chunk_strategy": chunking.value if chunking else None,
        "index": settings,
        "sparse": words,
        "gate": policy,
        "watch_minutes": watch_minutes,
    }
    body = {key: value for key, value in said.items() if value is not None}
    body |= {"extract": extract, "keep_refused": keep_refused, "dry_run": dry_run}
    ended = run_command(lambda: rebuilds.rebuild(settings_of(data), name, "reindex", body, err), as_json=as_json)
    if as_json:
        print_json(commands.operation_json(ended))
    elif dry_run:
        rebuilds.show_rebuild_plan(ended, out)
    else:
        rebuilds.show_rebuild(ended, name, out, with_moved=moved)
    raise typer.Exit(plan_exit_code(ended) if dry_run else commands.exit_code_of(ended))


def rollback(
    name: Annotated[str, typer.Argument(help="Name of the collection.")], data: Data = None, as_json: Json = False
) -> None:
    """Go back to what served before the last reindex, with everything changed since, and wait."""
    ended = run_command(lambda: rebuilds.rebuild(settings_of(data), name, "rollback", None, err), as_json=as_json)
    print_json(commands.operation_json(ended)) if as_json else rebuilds.show_rollback(ended, name, out)
    raise typer.Exit(commands.exit_code_of(ended))
