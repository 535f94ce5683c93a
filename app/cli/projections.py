"""``vecloom project`` and ``projections``."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from rich.console import Console

from app.cli.client import Client, CliError, collection_path
from app.cli.commands import see_through
from app.cli.progress import printable
from app.cli.session import open_client
from app.settings import Settings

WRITTEN_OUT = ("map.html", "map.png", "points.parquet", "meta.json")
TAKEN_OVER = (
    "points",
    "sampled",
    "degraded",
    "quality",
    "bytes",
)


class _ReusedError(Exception):
    """The projection is there already; carries it out of what begins an operation."""

    def __init__(self, projection: dict[str, Any]) -> None:
        super().__init__(projection["projection_id"])
        self.projection = projection


def read_parameters(given: Sequence[str] | None) -> dict[str, Any]:
    """``NAME=VALUE`` options; a value that is JSON is what it says, any other is a text.

    Raises:
        CliError: if one has no ``=``.
    """
    parameters: dict[str, Any] = {}
    for one in given or ():
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise CliError("invalid_usage", f"{one!r} is not NAME=VALUE, as --param n_neighbors=30")
        try:
            parameters[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            parameters[name] = value
    return parameters


async def project(
    settings: Settings, name: str, body: Mapping[str, Any], into: Path | None, console: Console
) -> dict[str, Any]:
    """Draw a map and wait; see ``see_through``. One that is there already is given at once, as its operation ended."""

    async def begin(client: Client) -> dict[str, Any]:
        answer: dict[str, Any] = await client.call("POST", collection_path(name, "projections"), json=dict(body))
        if "kind" in answer:
            return answer
        if into is not None:
            await _write_out(client, answer["projection_id"], into)
        raise _ReusedError(answer)

    async def conclude(client: Client, ended: dict[str, Any]) -> None:
        if into is not None and ended["state"] == "completed":
            await _write_out(client, ended["result"]["projection_id"], into)

    try:
        return await see_through(settings, begin, console, conclude=conclude)
    except _ReusedError as reused:
        return _as_operation(reused.projection)


def _as_operation(projection: Mapping[str, Any]) -> dict[str, Any]:
    """What its operation has ended with, be that still there or not."""
    result = {
        "projection_id": projection["projection_id"],
        **{name: projection[name] for name in TAKEN_OVER},
        "method": projection["config"]["method"],
        "dimensions": projection["config"]["dimensions"],
        **projection["details"],
        "reused": True,
    }
    return {
        "operation_id": projection["operation_id"],
        "collection_id": projection["collection_id"],
        "state": projection["state"],
        "result": result,
    }


async def _write_out(client: Client, projection_id: str, into: Path) -> None:
    """The page, the picture and the points; what stands there under these names is replaced."""
    files = {file: await client.fetch(f"{_path(projection_id)}/files/{file}") for file in WRITTEN_OUT}
    await asyncio.to_thread(_write_files, into, files)


def _write_files(into: Path, files: Mapping[str, bytes]) -> None:
    into.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (into / name).write_bytes(content)


def _path(projection_id: str) -> str:
    return f"/projections/{quote(projection_id, safe='')}"


async def list_projections(settings: Settings, name: str, limit: int) -> Any:  # noqa: ANN401 — JSON
    """Maps of a collection."""
    async with open_client(settings, worker=False) as client:
        return await client.call("GET", collection_path(name, "projections"), params={"limit": limit})


async def read_projection(settings: Settings, projection_id: str, into: Path | None) -> Any:  # noqa: ANN401 — JSON
    """One of them; its files are written to ``into`` if that is given."""
    async with open_client(settings, worker=False) as client:
        found = await client.call("GET", _path(projection_id))
        if into is not None:
            await _write_out(client, found["projection_id"], into)
        return found


async def forget(settings: Settings, projection_id: str) -> None:
    """Delete a projection with its files."""
    async with open_client(settings, worker=False) as client:
        await client.call("DELETE", _path(projection_id))


# --- what is said -------------------------------------------------------------------------------


def show_made(ended: Mapping[str, Any], into: Path | None, console: Console) -> None:
    """What came of it."""
    if ended["state"] != "completed":
        detail = (
            f"{ended['error_code']}: {printable(ended.get('error_message') or '')}" if ended.get("error_code") else ""
        )
        console.print(f"[red]{ended['state']}[/red] {detail}".rstrip(), highlight=False, soft_wrap=True)
        return
    result = ended["result"]
    word = "unchanged, drawn before" if result.get("reused") else "completed"
    _say(console, f"[green]{word}[/green]: {_describe(result)}")
    if result["degraded"]:
        _say(console, f"[yellow]degraded: {result['degraded']}; it is laid out by {result['laid_out_by']}[/yellow]")
    if result["invalid"]:
        _say(console, f"[yellow]{result['invalid']} points have no usable vector and are in the middle[/yellow]")
    for note in result.get("notes", []):
        _say(console, f"[yellow]{printable(note)}[/yellow]")
    if into is not None:
        _say(console, f"open {printable(str(into / 'map.html'))}")
    else:
        _say(console, f"write it out with: vecloom projections show {result['projection_id']} --out DIR")


def _describe(result: Mapping[str, Any]) -> str:
    said = [f"{result['points']} points", f"{result['method']} in {result['dimensions']} dimensions"]
    if result["sampled"] < result["points"]:
        said.append(f"{result['sampled']} laid out, the rest placed by its neighbours")
    said += [f"{name} {value:.3f}" for name, value in result["quality"].items()]
    return printable(", ".join(said))


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)


def show_list(answer: Mapping[str, Any], console: Console) -> None:
    """One line a projection."""
    rows = [("projection", "when", "state", "method", "colours", "points", "note")]
    rows += [
        (
            one["projection_id"],
            one["created_at"][5:16].replace("T", " "),
            one["state"],
            f"{one['config']['method']} {one['config']['dimensions']}-D",
            one["config"]["colour_by"],
            "" if one["points"] is None else str(one["points"]),
            ", ".join(_note(one)),
        )
        for one in answer["projections"]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True))
        _say(console, printable(line.rstrip()))


def _note(one: Mapping[str, Any]) -> list[str]:
    said = [f"stale: {one['stale']}"] if one["stale"] else []
    said += [f"degraded: {one['degraded']}"] if one["degraded"] else []
    return said + ([one["error_code"]] if one["error_code"] else [])


def show_projection(one: Mapping[str, Any], console: Console) -> None:
    """Everything about one."""
    _say(console, printable(f"{one['projection_id']} of {one['collection']}: {one['state']}"))
    for note in _note(one):
        _say(console, f"[yellow]{printable(note)}[/yellow]")
    if one["points"] is not None:
        _say(console, _describe({**one, **one["config"]}))
    for name, size in one["files"].items():
        _say(console, printable(f"  {name}: {size} bytes"))
