"""How every command of the command line runs, fails and prints."""

import asyncio
import json
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import orjson
import typer
import uvloop
from rich.console import Console

from app.cli.client import CliError
from app.cli.progress import printable
from app.domain.errors import DomainError
from app.domain.sanitising import sanitise
from app.settings import Settings, read_settings, wants_details

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
Data = Annotated[Path | None, typer.Option("--data", help="Data folder of the embedded stack.")]


def settings_of(data: Path | None) -> Settings:
    """The settings of the environment, with a data folder that was named."""
    return read_settings() if data is None else read_settings(data=data.expanduser().absolute())


def print_json(value: object) -> None:
    """Write one JSON object to stdout."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        # names of files that are not UTF-8
        text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
    sys.stdout.write(text + "\n")


def run_command(work: Callable[[], Awaitable[Any]], *, as_json: bool) -> Any:  # noqa: ANN401 — each command's own JSON
    """Run a command to its end; errors are one line, or one JSON object, and exit code 1."""

    async def wait() -> Any:  # noqa: ANN401 — see above
        task = asyncio.current_task()
        if task is not None:
            # a polite kill ends a command as Ctrl-C does: with everything put away
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work()

    try:
        return uvloop.run(wait())
    except (CliError, DomainError) as error:
        detail = error.detail if isinstance(error, CliError) else error.message
        fail(error.code, detail, as_json=as_json)
    except UnicodeEncodeError:
        fail("invalid_input", "a name or a query has bytes that are not UTF-8; write it in UTF-8", as_json=as_json)
    except Exception as error:  # noqa: BLE001 — a script gets its JSON and its exit code whatever happens
        fail(*explain(error), as_json=as_json)
    except (KeyboardInterrupt, asyncio.CancelledError):
        fail("interrupted", "stopped; operations are kept and go on with a server or a command", as_json=as_json)


def explain(error: BaseException) -> tuple[str, str]:
    """Code and detail of an error that nobody has explained; ``VECLOOM_LOG_LEVEL=DEBUG`` shows where it came from."""
    if wants_details():
        traceback.print_exception(error)
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename!r}" if error.filename else ""
        return "system_error", f"{error.strerror}{where}"
    return "internal_error", f"{type(error).__name__}: {sanitise(str(error))}; VECLOOM_LOG_LEVEL=DEBUG shows where"


def fail(code: str, detail: str, *, as_json: bool) -> NoReturn:
    """Say what is wrong, and exit with 1."""
    if as_json:
        print_json({"error": {"code": code, "detail": detail}})
    err.print(f"[red]error[/red] \\[{code}]: {printable(detail)}", soft_wrap=True)
    raise typer.Exit(1)
