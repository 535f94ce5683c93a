"""The commands of ``vecloom sources``."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import sources as places
from app.cli.running import Data, Json, out, print_json, run_command, settings_of
from app.cli.sources import Exclude, Include, Option, Secret
from app.secrets_box import new_key
from app.settings import Settings

Name = Annotated[str, typer.Argument(help="Name of the collection.")]
Url = Annotated[str, typer.Argument(help="A folder, a file, or a URL.")]
Which = Annotated[str, typer.Argument(help="Id or URL of the source.")]

sources = typer.Typer(no_args_is_help=True, help="See, add, test and change the sources of a collection.")


def _ask(work: Callable[[Settings], Awaitable[Any]], data: Path | None, *, as_json: bool) -> Any:  # noqa: ANN401 — JSON
    """What the server answers, printed already if that is JSON."""
    found = run_command(lambda: work(settings_of(data)), as_json=as_json)
    if as_json:
        print_json(found)
    return found


@sources.command("list")
def list_(name: Name, data: Data = None, as_json: Json = False) -> None:
    """List the sources of a collection."""
    found = _ask(lambda settings: places.list_sources(settings, name), data, as_json=as_json)
    for source in () if as_json else found["sources"]:
        places.show_source(source, out)


@sources.command()
def add(
    name: Name,
    url: Url,
    include: Include = None,
    exclude: Exclude = None,
    option: Option = None,
    secret: Secret = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Add a source to a collection; `vecloom index` reads it."""

    async def work(settings: Settings) -> Any:  # noqa: ANN401 — JSON
        return await places.add_source(settings, name, places.describe(url, include, exclude, option, secret))

    found = _ask(work, data, as_json=as_json)
    if not as_json:
        places.show_source(found, out)


@sources.command("test")
def look(
    name: Name,
    url: Url,
    include: Include = None,
    exclude: Exclude = None,
    option: Option = None,
    secret: Secret = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Connect to a source and say what would be found; nothing is stored. Exit code 3 with document errors."""

    async def work(settings: Settings) -> Any:  # noqa: ANN401 — JSON
        return await places.test_source(settings, name, url, places.describe(url, include, exclude, option, secret))

    found = _ask(work, data, as_json=as_json)
    if not as_json:
        places.show_test(found, out)
    raise typer.Exit(3 if found["failed_by_code"] else 0)


@sources.command()
def change(
    name: Name,
    which: Which,
    include: Include = None,
    exclude: Exclude = None,
    option: Option = None,
    secret: Secret = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Change what belongs to a source, or its login; what is said replaces what was said before."""

    async def work(settings: Settings) -> Any:  # noqa: ANN401 — JSON
        body = places.describe(None, include, exclude, option, secret)
        return await places.change_source(settings, name, which, body)

    found = _ask(work, data, as_json=as_json)
    if not as_json:
        places.show_source(found, out)


@sources.command()
def rotate_secrets(data: Data = None, as_json: Json = False) -> None:
    """Encrypt the secrets of all your sources with the newest key."""
    found = _ask(places.rotate_secrets, data, as_json=as_json)
    if not as_json:
        out.print(f"{found['rotated']} secrets are under the newest key now that were not")


@sources.command("new-key")
def new_key_(as_json: Json = False) -> None:
    """Make a key for VECLOOM_SECRET_KEYS."""
    key = new_key()
    print_json({"key": key}) if as_json else out.print(key, highlight=False, soft_wrap=True)
