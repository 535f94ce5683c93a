"""The commands that draw maps, as the command line takes them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import commands
from app.cli import projections as drawing
from app.cli.client import CliError
from app.cli.running import Data, Json, err, fail, out, print_json, run_command, settings_of
from app.domain.projections import ColourBy, ProjectionMethod


def project(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    method: Annotated[ProjectionMethod, typer.Option(help="How it is laid out.")] = ProjectionMethod.UMAP,
    dimensions: Annotated[int, typer.Option(help="2 or 3.")] = 2,
    color_by: Annotated[
        ColourBy, typer.Option("--color-by", "--colour-by", help="What the colours say.")
    ] = ColourBy.CLUSTER,
    sample: Annotated[
        int | None, typer.Option(help="Lay out so many points [200000]; the rest is placed by its neighbours.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="A parameter of the method, as n_neighbors=30; docs/projection.md.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--out", help="A folder for the page, the picture, the points.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Draw a map of a collection, and wait; the same map of the same data is given at once."""
    try:
        parameters = drawing.read_parameters(param)
    except CliError as error:
        fail(error.code, error.detail, as_json=as_json)
    body: dict[str, Any] = {
        "method": method.value,
        "dimensions": dimensions,
        "colour_by": color_by.value,
        "parameters": parameters,
        **({"sample": sample} if sample is not None else {}),
    }
    ended = run_command(lambda: drawing.project(settings_of(data), name, body, output, err), as_json=as_json)
    print_json(commands.operation_json(ended)) if as_json else drawing.show_made(ended, output, out)
    raise typer.Exit(commands.exit_code_of(ended))


projections = typer.Typer(help="Look at maps of collections.", no_args_is_help=True)

Projection = Annotated[str, typer.Argument(help="Id of a projection.")]


@projections.command("list")
def list_them(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    limit: Annotated[int, typer.Option(help="How many, newest first.")] = 20,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Maps of a collection, newest first, and whether they still show what it holds."""
    answer = run_command(lambda: drawing.list_projections(settings_of(data), name, limit), as_json=as_json)
    print_json(answer) if as_json else drawing.show_list(answer, out)


@projections.command()
def show(
    projection: Projection,
    output: Annotated[
        Path | None, typer.Option("--out", help="A folder for the page, the picture, the points.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """One map, and its files."""
    found = run_command(lambda: drawing.read_projection(settings_of(data), projection, output), as_json=as_json)
    print_json(found) if as_json else drawing.show_projection(found, out)


@projections.command()
def remove(projection: Projection, data: Data = None, as_json: Json = False) -> None:
    """Forget a map, and remove its files."""
    run_command(lambda: drawing.forget(settings_of(data), projection), as_json=as_json)
    print_json({"removed": projection}) if as_json else out.print("forgotten", highlight=False)
