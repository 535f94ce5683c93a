"""``vecloom``: the command line."""

import asyncio
import signal
import sys
from contextlib import aclosing
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli import commands
from app.cli import plan as planning
from app.cli import uploads as uploading
from app.cli import verify as verification
from app.cli import watch as watching
from app.cli.benchmark_commands import bench, benchmarks
from app.cli.client import Client, CliError
from app.cli.datasets_commands import datasets
from app.cli.doctor import diagnose
from app.cli.generations_commands import compare, generations
from app.cli.page_command import announce, page
from app.cli.progress import printable
from app.cli.projection_commands import project, projections
from app.cli.rebuild_commands import reindex, rollback
from app.cli.rebuilds import read_sparse
from app.cli.removal_commands import delete, remove_source, retry_documents
from app.cli.running import Data, Json, err, out
from app.cli.running import explain as _explain
from app.cli.running import fail as _fail
from app.cli.running import print_json as _print_json
from app.cli.running import run_command as _run
from app.cli.running import settings_of as _settings
from app.cli.search_command import search
from app.cli.sources import Option, Secret, describe_access
from app.cli.sources_commands import sources
from app.cli.sync_command import sync
from app.cli.upkeep_commands import audit, jobs, search_log, stats, webhooks
from app.cli.uploads_commands import uploads
from app.domain.documents import ChunkingStrategy
from app.domain.errors import DomainError
from app.domain.syncs import OnGone
from app.logs import log_to_stderr
from app.settings import Settings, read_settings

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


class Action(StrEnum):
    """What to do with operations."""

    LIST = "list"
    SHOW = "show"
    WATCH = "watch"
    CANCEL = "cancel"
    RETRY = "retry"
    PAUSE = "pause"
    RESUME = "resume"


@cli.command()
def index(
    path_or_url: Annotated[str, typer.Argument(help="A folder, a file, or a URL; see docs/sources.md.")],
    collection: Annotated[str, typer.Option("--collection", "-c", help="Name of the collection.")],
    model: Annotated[str | None, typer.Option(help="Embedding model, for a new collection.")] = None,
    chunk_size: Annotated[int | None, typer.Option(help="Tokens in a chunk, for a new collection.")] = None,
    chunk_overlap: Annotated[int | None, typer.Option(help="Tokens shared by neighbouring chunks.")] = None,
    chunking: Annotated[
        ChunkingStrategy | None, typer.Option(help="Where texts are cut, for a new collection.")
    ] = None,
    sparse: Annotated[
        str | None, typer.Option(help="How words are weighed, as JSON, for a new collection; docs/search.md.")
    ] = None,
    include: Annotated[list[str] | None, typer.Option(help="Only paths that match this glob.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="No paths that match this glob.")] = None,
    option: Option = None,
    secret: Secret = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do, take and cost.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Then follow changes of the folder, until Ctrl-C.")] = False,
    upload: Annotated[bool, typer.Option("--upload", help="Send the files to the server.")] = False,
    on_gone: Annotated[OnGone | None, typer.Option(help="What becomes of documents that are gone.")] = None,
    confirm_removals: Annotated[bool, typer.Option(help="Remove what is gone, be it most.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Bring a folder or file into a collection, and wait; the collection is created if it is missing."""
    try:
        words = read_sparse(sparse)
    except CliError as error:
        _fail(error.code, error.detail, as_json=as_json)
    options = {
        "model": model,
        "chunk_size": chunk_size,
        "chunk_overlap": chunk_overlap,
        "chunk_strategy": chunking.value if chunking else None,
        "sparse": words,
        "include": include,
        "exclude": exclude,
        "on_gone": on_gone.value if on_gone else None,
        "confirm_removals": confirm_removals,
        **_run(lambda: describe_access(option, secret), as_json=as_json),
    }
    if upload and (dry_run or watch or on_gone or confirm_removals or option or secret):
        _fail(
            "invalid_usage",
            "--upload goes with options of a new collection and globs alone",
            as_json=as_json,
        )
    if dry_run and (watch or confirm_removals):
        _fail("invalid_usage", "--dry-run changes nothing: leave out --watch and --confirm-removals", as_json=as_json)
    if dry_run:
        planned = _run(lambda: planning.plan(_settings(data), path_or_url, collection, options, err), as_json=as_json)
        _print_json(commands.operation_json(planned)) if as_json else planning.show_plan(planned, out)
        raise typer.Exit(planning.plan_exit_code(planned))
    work = watching.watch if watch else uploading.upload if upload else commands.index
    ended = _run(lambda: work(_settings(data), path_or_url, collection, options, err), as_json=as_json)
    if as_json:
        _print_json(watching.watch_json(ended) if watch else commands.operation_json(ended))
    raise typer.Exit(commands.exit_code_of(ended))


@cli.command()
def ops(
    action: Annotated[Action, typer.Argument(help="list, show, watch, cancel, retry, pause or resume.")] = Action.LIST,
    operation_id: Annotated[str | None, typer.Argument(help="Which operation.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Look at operations, follow one, stop it or start it again."""
    if action is Action.LIST:
        answer = _run(lambda: commands.list_operations(_settings(data)), as_json=as_json)
        _print_json(commands.list_json(answer)) if as_json else commands.show_operations(answer, out)
        return
    if operation_id is None:
        _fail("missing_argument", f"say which operation: vecloom ops {action.value} ID", as_json=as_json)
    if action is Action.SHOW:
        answer, failed = _run(
            lambda: commands.inspect_operation(_settings(data), operation_id, with_documents=not as_json),
            as_json=as_json,
        )
        _print_json(answer) if as_json else commands.show_operation(answer, failed, out)
        return
    if action in (Action.PAUSE, Action.RESUME):
        answer = _run(lambda: commands.hold_operation(_settings(data), action.value, operation_id), as_json=as_json)
        _print_json(commands.operation_json(answer)) if as_json else commands.show_held(answer, out)
        return
    answer = _run(lambda: commands.follow_operation(_settings(data), action.value, operation_id, err), as_json=as_json)
    if as_json:
        _print_json(commands.operation_json(answer))
    else:
        out.print(f"{answer['operation_id']} {answer['state']}")
    expected = action is Action.CANCEL and answer["state"] == "cancelled"
    raise typer.Exit(0 if expected else commands.exit_code_of(answer))


@cli.command()
def pause(
    name: Annotated[str, typer.Argument(help="Name of the collection.")], data: Data = None, as_json: Json = False
) -> None:
    """Stop all operations of a collection at their next checkpoint, and start no more; search goes on."""
    _hold_collection("pause", name, data, as_json=as_json)


@cli.command()
def resume(
    name: Annotated[str, typer.Argument(help="Name of the collection.")], data: Data = None, as_json: Json = False
) -> None:
    """Let the operations of a paused collection go on where they stopped."""
    _hold_collection("resume", name, data, as_json=as_json)


def _hold_collection(action: str, name: str, data: Path | None, *, as_json: bool) -> None:
    answer = _run(lambda: commands.hold_collection(_settings(data), action, name), as_json=as_json)
    if as_json:
        _print_json({"collection_id": answer["id"], "paused_at": answer["paused_at"]})
        return
    since = f"paused since {answer['paused_at']}" if answer["paused_at"] else "not paused"
    out.print(f"{printable(answer['name'])}: {since}")


@cli.command()
def verify(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is found.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Embed every text again, not just 500.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Compare what Postgres knows of a collection with the vector store; exit code 1 if they disagree."""
    config = {"repair": repair, "deep": deep}
    ended = _run(lambda: verification.verify(_settings(data), name, config, err), as_json=as_json)
    if as_json:
        _print_json(verification.verify_json(ended))
    else:
        verification.show_verification(ended, name, out)
    raise typer.Exit(verification.exit_code_of(ended))


for command in (
    search,
    sync,
    remove_source,
    retry_documents,
    reindex,
    rollback,
    compare,
    generations,
    bench,
    project,
    delete,
    page,
    audit,
    webhooks,
    stats,
    search_log,
    jobs,
    uploads,
):
    cli.command()(command)


@cli.command()
def doctor(data: Data = None, as_json: Json = False) -> None:
    """Say what is wrong on this machine and what to do."""
    report = _run(lambda: diagnose(lambda: _settings(data)), as_json=as_json)
    if as_json:
        _print_json(report)
    else:
        for check in report["checks"]:
            word = "[green]ok[/green]  " if check["ok"] else "[red]bad[/red] "
            out.print(f"{word} {check['name']}: {printable(check['detail'])}", soft_wrap=True)
            if check["fix"]:
                out.print(f"     fix: {printable(check['fix'])}", soft_wrap=True)
    raise typer.Exit(0 if report["ok"] else 1)


@cli.command()
def up(
    data: Data = None,
    port: Annotated[int, typer.Option(help="Port of the HTTP API.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Run everything on this machine: stores, API and worker, until Ctrl-C."""
    _run(lambda: _serve(_settings(data), port, host), as_json=False)


async def _serve(settings: Settings, port: int, host: str) -> None:
    # imported here: no other command needs the server
    from app.bootstrap import serve_embedded  # noqa: PLC0415 — see above
    from app.processes.garbage import freeze_garbage  # noqa: PLC0415 — see above

    log_to_stderr(settings.log_level)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve_embedded(settings, port=port, host=host) as served:
        freeze_garbage()
        out.print(f"Vecloom serves {settings.data} at [bold]{served.url}[/bold]  (API: {served.url}/docs)")
        async with aclosing(Client(served.url, served.api_key)) as client:
            await announce(client, out)
        out.print(f"key: in {settings.data / 'server.json'}, readable by you alone; commands on this folder find it")
        out.print("next: vecloom index FOLDER --collection NAME   ·   Ctrl-C stops, nothing is lost")
        await stop.wait()
        out.print("stopping…")


@cli.command()
def worker(data: Data = None) -> None:
    """Run one more worker, on the data folder of a running `vecloom up` or on the configured services."""
    # imported here: no other command needs the worker
    from app.worker import run_worker  # noqa: PLC0415 — see above

    try:
        settings = _settings(data)
        log_to_stderr(settings.log_level)
        run_worker(settings)
    except DomainError as error:
        _fail(error.code, error.message, as_json=False)


@cli.command()
def embed_server(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8766,
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need a key.")] = "127.0.0.1",
) -> None:
    """Serve the embedding model of this machine to other machines' workers, until Ctrl-C."""
    _run(lambda: _serve_embeddings(_settings(None), port, host), as_json=False)


async def _serve_embeddings(settings: Settings, port: int, host: str) -> None:
    # imported here: no other command needs the server
    from app.bootstrap import serving_embeddings  # noqa: PLC0415 — see above

    log_to_stderr(settings.log_level)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving_embeddings(settings, host=host, port=port) as url:
        out.print(f"Vecloom serves the model {settings.embedding_model} at [bold]{url}/v1[/bold]", soft_wrap=True)
        await stop.wait()
        out.print("stopping…")


@cli.command()
def migrate() -> None:
    """Bring the configured database to this version's schema."""
    # imported here: no other command needs it
    from app.bootstrap import migrate as run_migrations  # noqa: PLC0415 — see above

    try:
        run_migrations(read_settings())
    except DomainError as error:
        _fail(error.code, error.message, as_json=False)
    except Exception as error:  # noqa: BLE001 — one clear line instead of a traceback
        _fail(*_explain(error), as_json=False)


cli.add_typer(sources, name="sources")
cli.add_typer(benchmarks, name="benchmarks")
cli.add_typer(projections, name="projections")
cli.add_typer(datasets, name="datasets")


def run() -> None:
    """The console script. A wrong command line is told to a script as any other error is: as JSON, with status 1."""
    if "--json" not in sys.argv:
        cli()
    try:
        status = cli(standalone_mode=False)
    except typer.Abort:
        sys.exit(1)
    except Exception as error:
        # typer does not name the class of its own errors
        tell = getattr(error, "format_message", None)
        if tell is None:
            raise
        _print_json({"error": {"code": "invalid_usage", "detail": tell()}})
        err.print(f"[red]error[/red] \\[invalid_usage]: {printable(tell())}", soft_wrap=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    run()
