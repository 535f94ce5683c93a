"""``vecloom uploads``: what was sent to a collection."""

from typing import Annotated, Any

import typer
from rich.console import Console

from app.cli.client import CliError, collection_path
from app.cli.commands import exit_code_of, follow, operation_json
from app.cli.progress import ProgressView, printable
from app.cli.running import Data, Json, err, out, print_json, run_command, settings_of
from app.cli.session import open_client
from app.settings import Settings

PAGE = 1000


def uploads(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    delete: Annotated[str | None, typer.Option("--delete", help="Path of an upload that is to go, and wait.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List what was sent to a collection, or delete one of it."""
    if delete is not None:
        ended = run_command(lambda: _delete(settings_of(data), name, delete, err), as_json=as_json)
        if as_json:
            print_json(operation_json(ended))
        raise typer.Exit(exit_code_of(ended))
    found = run_command(lambda: _list(settings_of(data), name), as_json=as_json)
    if as_json:
        print_json({"uploads": found})
        return
    for item in found:
        state = "" if item["state"] == "complete" else f"  {item['received']} of them have come"
        out.print(f"{printable(item['path'])}  {item['size']} bytes{state}", highlight=False, soft_wrap=True)


async def _list(settings: Settings, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": PAGE}
    async with open_client(settings, worker=False) as client:
        while True:
            page = await client.call("GET", collection_path(name, "uploads"), params=query)
            found += page["uploads"]
            if page["next"] is None:
                return found
            query["after"] = page["next"]


async def _delete(settings: Settings, name: str, path: str, console: Console) -> dict[str, Any]:
    async with open_client(settings) as client:
        query = {"path": path, "state": "complete"}
        found = (await client.call("GET", collection_path(name, "uploads"), params=query))["uploads"]
        if not found:
            raise CliError(
                "upload_not_found", f"nothing was sent to {name} under this path; see `vecloom uploads {name}`"
            )
        operation = await client.call("DELETE", collection_path(name, "uploads", found[0]["id"]))
        with ProgressView(console) as view:
            return await follow(client, operation, view, [])
