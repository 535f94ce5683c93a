"""``vecloom sources``: what a collection is made of."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from app.cli.client import Client, CliError, collection_path
from app.cli.commands import to_url
from app.cli.progress import printable
from app.cli.session import open_client
from app.settings import Settings
from app.sources.kinds import split_login

Include = Annotated[list[str] | None, typer.Option("--include", help="Only paths that match this glob.")]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", help="No paths that match this glob.")]
Option = Annotated[list[str] | None, typer.Option("--option", help="NAME=VALUE, as depth=2; see docs/sources.md.")]
Secret = Annotated[
    list[str] | None,
    typer.Option("--secret", help="NAME=@FILE, or NAME=- to be read from stdin; NAME=VALUE shows it to other users."),
]


def read_options(said: Sequence[str]) -> dict[str, bool | int | float | str]:
    """Options as ``NAME=VALUE``; what reads like a number, ``true`` or ``false`` is one."""
    return {name: _value(text) for name, text in (_pair(one, "--option") for one in said)}


def _value(text: str) -> bool | int | float | str:
    if text in {"true", "false"}:
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def read_secrets(said: Sequence[str]) -> dict[str, str]:
    """Secrets as ``NAME=VALUE``, ``NAME=@FILE`` or ``NAME=-``."""
    return {name: _secret(text) for name, text in (_pair(one, "--secret") for one in said)}


def _secret(text: str) -> str:
    if text == "-":
        return sys.stdin.readline().rstrip("\n")
    return Path(text[1:]).read_text().strip() if text.startswith("@") else text


def _pair(text: str, option: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        # the text may be a secret, so it is not repeated
        raise CliError("invalid_usage", f"{option} is written NAME=VALUE")
    return name, value


def describe(
    url: str | None,
    include: Sequence[str] | None,
    exclude: Sequence[str] | None,
    option: Sequence[str] | None,
    secret: Sequence[str] | None,
) -> dict[str, Any]:
    """The body of a request about a source; what was not said is not in it."""
    body: dict[str, Any] = {} if url is None else {"url": to_url(url)}
    said = {
        "include": list(include) if include else None,
        "exclude": list(exclude) if exclude else None,
        "options": read_options(option) if option else None,
        "secrets": read_secrets(secret) if secret else None,
    }
    return body | {name: value for name, value in said.items() if value is not None}


async def describe_access(option: Sequence[str] | None, secret: Sequence[str] | None) -> dict[str, Any]:
    """``options`` and ``secrets`` of a source, as far as they were said."""
    return describe(None, None, None, option, secret)


async def _find(client: Client, name: str, id_or_url: str) -> dict[str, Any]:
    wanted, _ = split_login(to_url(id_or_url))
    sources: list[dict[str, Any]] = (await client.call("GET", collection_path(name, "sources")))["sources"]
    for source in sources:
        if source["id"] == id_or_url or source["url"] in {wanted, id_or_url}:
            return source
    raise CliError("source_unknown", f"the collection has no source {printable(wanted)}; see `vecloom sources list`")


async def list_sources(settings: Settings, name: str) -> Any:  # noqa: ANN401 — JSON
    """All sources of a collection."""
    async with open_client(settings, worker=False) as client:
        return await client.call("GET", collection_path(name, "sources"))


async def add_source(settings: Settings, name: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 — JSON
    """The new source; nothing is read yet."""
    async with open_client(settings, worker=False) as client:
        return await client.call("POST", collection_path(name, "sources"), json=body)


async def test_source(settings: Settings, name: str, id_or_url: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 — JSON
    """What a scan would find; of a source that the collection has unless more is said of it."""
    async with open_client(settings, worker=False) as client:
        wanted: dict[str, Any] = {"source": body}
        if set(body) == {"url"}:
            try:
                wanted = {"source_id": (await _find(client, name, id_or_url))["id"]}
            except CliError as error:
                if error.code != "source_unknown":
                    raise
        return await client.call("POST", collection_path(name, "sources", "test"), json=wanted)


async def change_source(settings: Settings, name: str, id_or_url: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 — JSON
    """The source as it is then."""
    async with open_client(settings, worker=False) as client:
        source = await _find(client, name, id_or_url)
        return await client.call("PATCH", collection_path(name, "sources", source["id"]), json=body)


async def rotate_secrets(settings: Settings) -> Any:  # noqa: ANN401 — JSON
    """How many secrets were encrypted anew."""
    async with open_client(settings, worker=False) as client:
        return await client.call("POST", "/sources/rotate-secrets")


def show_source(source: dict[str, Any], console: Console) -> None:
    """One line, and what was said of it."""
    login = "  with a login" if source["has_secrets"] else ""
    since = f"  last run {source['last_run_at'][:16].replace('T', ' ')}" if source["last_run_at"] else "  not read yet"
    line = f"{source['id']}  {source['kind']}  {source['url']}{login}{since}"
    console.print(printable(line), highlight=False, soft_wrap=True)
    said = [*(("include", glob) for glob in source["include"]), *(("exclude", glob) for glob in source["exclude"])]
    for key, value in [*said, *source["options"].items()]:
        console.print(f"    {printable(key)} {printable(str(value))}", highlight=False, soft_wrap=True)


def show_test(found: dict[str, Any], console: Console) -> None:
    """What a scan would find, for a person."""
    word = "" if found["is_complete"] else "at least "
    total = f"{word}{found['documents']} documents, {found['bytes']} bytes, {found['seconds']:.1f} s"
    console.print(total, highlight=False)
    for path in found["names"]:
        console.print(f"    {printable(path)}", highlight=False, soft_wrap=True)
    for reason, number in found["skipped"].items():
        console.print(f"left out: {number} {printable(reason)}", highlight=False)
    for error in found["errors"]:
        line = f"{error['error_code']} {error['path']}: {error['error_message']}"
        console.print(printable(line), highlight=False, soft_wrap=True)
