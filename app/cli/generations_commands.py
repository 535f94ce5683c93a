"""The commands that look at the generations of a collection."""

from typing import Annotated

import typer

from app.cli import compare as comparing
from app.cli import generations as standing
from app.cli.running import Data, Json, out, print_json, run_command, settings_of
from app.domain.points import SearchMode


def generations(
    name: Annotated[str, typer.Argument(help="Name of the collection.")], data: Data = None, as_json: Json = False
) -> None:
    """List the generations of a collection: the one that is searched, and those that are kept or being built."""
    answer = run_command(lambda: standing.list_generations(settings_of(data), name), as_json=as_json)
    print_json(answer) if as_json else standing.show_generations(answer, out)


def compare(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    query: Annotated[list[str], typer.Option("--query", "-q", help="What to look for; up to 20 of them.")],
    mode: Annotated[SearchMode, typer.Option(help="By meaning, by words, or by both.")] = SearchMode.HYBRID,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Most hits of each generation.")] = 10,
    generation: Annotated[
        str | None, typer.Option(help="Compare with this one, not with the newest complete one.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Ask two generations of a collection the same, and show what moved; exit code 3 if one of them cannot be asked."""
    options = {"mode": mode.value, "limit": limit, "generation": generation}
    answer = run_command(
        lambda: comparing.compare_generations(settings_of(data), name, query, options), as_json=as_json
    )
    print_json(answer) if as_json else comparing.show_comparison(answer, out)
    raise typer.Exit(comparing.exit_code_of(answer))
