"""The commands of ``vecloom sources``."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from app.cli import sources
from app.cli.sources import Exclude, Include, Option, Secret
from app.secrets_box import new_key
from app.settings import Settings

Name = Annotated[str, typer.Argument(help="Name of the collection.")]
Url = Annotated[str, typer.Argument(help="A folder, a file, or a URL.")]
Which = Annotated[str, typer.Argument(help="Id or URL of the source.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
Data = Annotated[Path | None, typer.Option("--data", help="Data folder of the embedded stack.")]

Run = Callable[..., Any]
Read = Callable[[Path | None], Settings]
Print = Callable[[object], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """What all commands share: how they run, and how they print."""

    run: Run
    read_settings: Read
    print_json: Print
    out: Console

    def answer(self, work: Callable[[Settings], Awaitable[Any]], data: Path | None, *, as_json: bool) -> Any:  # noqa: ANN401 — JSON
        """What the server answers, printed already if that is JSON."""
        found = self.run(lambda: work(self.read_settings(data)), as_json=as_json)
        if as_json:
            self.print_json(found)
        return found


def create_sources(shell: Shell) -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(no_args_is_help=True, help="See, add, test and change the sources of a collection.")
    for add_command in (_add_list, _add_add, _add_test, _add_change, _add_secrets):
        add_command(group, shell)
    return group


def _add_list(group: typer.Typer, shell: Shell) -> None:
    @group.command("list")
    def list_(name: Name, data: Data = None, as_json: Json = False) -> None:
        """List the sources of a collection."""
        found = shell.answer(lambda settings: sources.list_sources(settings, name), data, as_json=as_json)
        for source in () if as_json else found["sources"]:
            sources.show_source(source, shell.out)


def _add_add(group: typer.Typer, shell: Shell) -> None:
    @group.command()
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
            return await sources.add_source(settings, name, sources.describe(url, include, exclude, option, secret))

        found = shell.answer(work, data, as_json=as_json)
        if not as_json:
            sources.show_source(found, shell.out)


def _add_test(group: typer.Typer, shell: Shell) -> None:
    @group.command()
    def test(
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
            return await sources.test_source(
                settings, name, url, sources.describe(url, include, exclude, option, secret)
            )

        found = shell.answer(work, data, as_json=as_json)
        if not as_json:
            sources.show_test(found, shell.out)
        raise typer.Exit(3 if found["failed_by_code"] else 0)


def _add_change(group: typer.Typer, shell: Shell) -> None:
    @group.command()
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
            body = sources.describe(None, include, exclude, option, secret)
            return await sources.change_source(settings, name, which, body)

        found = shell.answer(work, data, as_json=as_json)
        if not as_json:
            sources.show_source(found, shell.out)


def _add_secrets(group: typer.Typer, shell: Shell) -> None:
    @group.command()
    def rotate_secrets(data: Data = None, as_json: Json = False) -> None:
        """Encrypt the secrets of all your sources with the newest key."""
        found = shell.answer(sources.rotate_secrets, data, as_json=as_json)
        if not as_json:
            shell.out.print(f"{found['rotated']} secrets are under the newest key now that were not")

    @group.command("new-key")
    def new_key_(as_json: Json = False) -> None:
        """Make a key for VECLOOM_SECRET_KEYS."""
        key = new_key()
        shell.print_json({"key": key}) if as_json else shell.out.print(key, highlight=False, soft_wrap=True)
