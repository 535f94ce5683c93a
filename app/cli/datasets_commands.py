"""The commands of ``vecloom datasets``."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import datasets as judged
from app.cli.client import Client
from app.cli.running import Data, Json, out, print_json, run_command, settings_of
from app.cli.session import open_client
from app.domain.benchmark_datasets import MOST_QUERIES, MOST_SAMPLED

Name = Annotated[str, typer.Argument(help="Name or id of the dataset.")]

datasets = typer.Typer(invoke_without_command=True, help="Judged queries, for benchmarks.")


class Written(StrEnum):
    """How a dataset is written out."""

    BEIR = "beir"
    TREC = "trec"
    JSON = "json"


def _ask(work: Callable[[Client], Awaitable[Any]], data: Path | None, *, as_json: bool) -> Any:  # noqa: ANN401 — JSON
    """What the server answers, printed already if that is JSON."""

    async def talk() -> Any:  # noqa: ANN401 — see above
        async with open_client(settings_of(data), worker=False) as client:
            return await work(client)

    found = run_command(talk, as_json=as_json)
    if as_json:
        print_json(found)
    return found


@datasets.callback()
def main(context: typer.Context) -> None:
    """Judged queries, for benchmarks: see docs/benchmark-datasets.md."""
    if context.invoked_subcommand is None:
        list_()


@datasets.command("list")
def list_(data: Data = None, as_json: Json = False) -> None:
    """List your datasets."""
    found = _ask(lambda client: client.call("GET", judged.PATH), data, as_json=as_json)
    if as_json:
        return
    for dataset in found["datasets"]:
        judged.show_dataset({**dataset, "notes": []}, out)
    if not found["datasets"]:
        out.print("no datasets; add one with: vecloom datasets add FOLDER")


@datasets.command()
def add(
    path: Annotated[Path, typer.Argument(help="Folder with queries.jsonl and qrels, or topics and qrels; or a .json.")],
    name: Annotated[str | None, typer.Option(help="What it is called [as the folder or file].")] = None,
    split: Annotated[str | None, typer.Option(help="Which of several files of judgments [test].")] = None,
    limit_queries: Annotated[
        int | None, typer.Option(min=1, max=MOST_QUERIES, help="Of more queries choose so many by chance.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Send judged queries; the same again changes nothing."""
    found = _ask(lambda client: judged.upload_dataset(client, path, name, split, limit_queries), data, as_json=as_json)
    if not as_json:
        judged.show_dataset(found, out)


@datasets.command()
def make(
    name: Annotated[str, typer.Argument(help="What it shall be called.")],
    collection: Annotated[str, typer.Option("--collection", "-c", help="Name of the collection.")],
    judgments: Annotated[bool, typer.Option("--judgments", help="Of what people have judged there.")] = False,
    documents: Annotated[int, typer.Option(min=1, max=MOST_SAMPLED, help="Else of so many documents.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Another one chooses other documents.")] = 0,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a dataset of a collection: of what people have judged, or a synthetic one of its documents."""
    sampled = None if judgments else {"documents": documents, "seed": seed}
    found = _ask(lambda client: judged.make_dataset(client, name, collection, sampled), data, as_json=as_json)
    if not as_json:
        judged.show_dataset(found, out)


@datasets.command()
def show(
    name: Name,
    queries: Annotated[int, typer.Option(min=1, max=100, help="How many of its queries.")] = 10,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show a dataset and its first queries."""
    found = _ask(lambda client: judged.read_dataset(client, name, queries), data, as_json=as_json)
    if not as_json:
        judged.show_dataset(found, out)


@datasets.command()
def remove(name: Name, data: Data = None, as_json: Json = False) -> None:
    """Delete a dataset."""

    async def work(client: Client) -> Any:  # noqa: ANN401 — JSON
        removed = await client.call("GET", judged.dataset_path(name))
        await client.call("DELETE", judged.dataset_path(name))
        return removed

    found = _ask(work, data, as_json=as_json)
    if not as_json:
        judged.show_dataset({**found, "name": f"removed {found['name']}"}, out)


@datasets.command()
def export(
    name: Name,
    wanted: Annotated[Written, typer.Option("--format", help="A .json, or a .zip of files.")] = Written.JSON,
    file: Annotated[Path | None, typer.Option("--out", help="The file to write [NAME.json, NAME-trec.zip].")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write a dataset to a file."""
    found = _ask(lambda client: judged.export_dataset(client, name, wanted.value, file), data, as_json=as_json)
    if not as_json:
        out.print(f"{found['file']}  {found['bytes']} bytes", highlight=False, markup=False, soft_wrap=True)


@datasets.command()
def coverage(
    name: Name,
    collection: Annotated[str, typer.Option("--collection", "-c", help="Name of the collection.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say how many of the judged documents a collection has, and which it has not."""
    found = _ask(lambda client: judged.cover_collection(client, name, collection), data, as_json=as_json)
    if not as_json:
        judged.show_coverage(found, collection, out)
