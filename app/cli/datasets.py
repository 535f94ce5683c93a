"""``vecloom datasets``: judged queries, for benchmarks."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console

from app.cli.client import Client, CliError, collection_path
from app.cli.progress import printable
from app.domain.benchmark_datasets import LARGEST_BYTES, DatasetTooLargeError
from app.evaluation.datasets.layout import find_layout, is_wanted

PATH = "/benchmark-datasets"
MOST_LOOKED_AT = 10_000
"""Files of a folder, so that nobody waits for the search of a whole disk."""


def dataset_path(name: str, *rest: str) -> str:
    """Path of a dataset, or of something below it; any name is safe in it."""
    return "/".join([PATH, quote(name, safe=""), *rest])


async def upload_dataset(
    client: Client, path: Path, name: str | None, split: str | None, limit_queries: int | None = None
) -> dict[str, Any]:
    """Send the dataset of a folder, or of a file; the same again gives the one that is there.

    Only its queries and the judgments of one split are sent. Without a ``name`` it has that of the folder or file.

    Raises:
        OSError: if there is no such folder or file.
        CliError: if the server refuses it.
        InvalidDatasetError: if there is no dataset in it.
        DatasetTooLargeError: if it has more bytes than are taken.
    """
    called, files = await asyncio.to_thread(_read_files, path, split)
    query = {"name": name or called, "split": split, "limit_queries": limit_queries}
    answer: dict[str, Any] = await client.call(
        "POST",
        PATH,
        params={key: value for key, value in query.items() if value is not None},
        files=[("file", (relative, content)) for relative, content in files.items()],
    )
    return answer


def name_by_content(path: Path, split: str | None) -> str:
    """What a dataset is called whose own name another one has: each content has a name of its own."""
    called, files = _read_files(path, split)
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name} {len(content)} ".encode() + content)
    return f"{called} {digest.hexdigest()[:8]}"


def _read_files(path: Path, split: str | None) -> tuple[str, dict[str, bytes]]:
    """What the place is called, and contents by relative name."""
    place = path.expanduser().resolve(strict=True)
    if not place.is_dir() and not place.is_file():
        raise CliError("invalid_usage", f"{place} is neither a folder nor a file; nothing was sent")
    root, names = (place, list(_list_names(place))) if place.is_dir() else (place.parent, [place.name])
    chosen = find_layout(names, split=split).files
    if sum((root / name).stat().st_size for name in chosen) > LARGEST_BYTES:
        raise DatasetTooLargeError(f"{' and '.join(chosen)} have more than {LARGEST_BYTES} bytes; make them smaller")
    called = place.name if place.is_dir() else place.stem
    return called, {name: (root / name).read_bytes() for name in chosen}


def _list_names(folder: Path) -> Iterator[str]:
    """Files that may be a dataset's, of the folder itself and of those that datasets have in it."""
    looked_at = 0
    for pattern in ("*", "qrels/*", "topics/*", "queries/*"):
        for found in folder.glob(pattern):
            looked_at += 1
            if looked_at > MOST_LOOKED_AT:
                raise CliError("invalid_usage", f"{folder} has too many files; give the folder of the dataset")
            name = found.relative_to(folder).as_posix()
            if is_wanted(name) and found.is_file():
                yield name


async def make_dataset(client: Client, name: str, collection: str, sampled: dict[str, int] | None) -> Any:  # noqa: ANN401 — JSON
    """A dataset of documents that chance chooses, or else of the judgments of people."""
    rest = "judgments/dataset" if sampled is None else "benchmark-datasets"
    return await client.call("POST", collection_path(collection, rest), json={"name": name, **(sampled or {})})


async def export_dataset(client: Client, name: str, wanted: str, out: Path | None) -> dict[str, Any]:
    """Write one to a new file. Raises FileExistsError if there is one already."""
    content = await client.fetch(dataset_path(name, "export"), params={"format": wanted})
    place = out or Path(f"{name}.json" if wanted == "json" else f"{name}-{wanted}.zip")
    await asyncio.to_thread(_write_new, place, content)
    return {"file": str(place), "bytes": len(content)}


def _write_new(place: Path, content: bytes) -> None:
    with place.open("xb") as file:
        file.write(content)


async def cover_collection(client: Client, name: str, collection: str) -> Any:  # noqa: ANN401 — JSON
    """How much of a dataset a collection has."""
    return await client.call("GET", collection_path(collection, "benchmark-datasets", quote(name, safe=""), "coverage"))


async def read_dataset(client: Client, name: str, queries: int) -> dict[str, Any]:
    """A dataset with the first of its queries."""
    dataset: dict[str, Any] = await client.call("GET", dataset_path(name))
    page = await client.call("GET", dataset_path(name, "queries"), params={"limit": queries})
    return {**dataset, "first_queries": page["queries"]}


# --- for people ---------------------------------------------------------------------------------


def show_dataset(dataset: dict[str, Any], console: Console) -> None:
    """One line, what there is to note, and queries if some came."""
    synthetic = ", synthetic: nobody has judged it" if dataset["is_synthetic"] else ""
    counts = f"{dataset['queries']} queries, {dataset['judgments']} judgments"
    lines = [f"{dataset['name']}  {counts}  {dataset['format']} ({dataset['source']}){synthetic}"]
    lines += [f"  note: {note}" for note in dataset["notes"]]
    for query in dataset.get("first_queries", ()):
        judged = ", ".join(f"{each['doc']}={each['grade']}" for each in query["relevant"][:5])
        more = f" and {len(query['relevant']) - 5} more" if len(query["relevant"]) > 5 else ""
        lines.append(f"  {query['query_id']}  {query['text']}  [{judged}{more}]")
    _print(lines, console)


def show_coverage(coverage: dict[str, Any], collection: str, console: Console) -> None:
    """Shares, how documents were found, and what is missing."""
    found = sum(coverage["mapped"].values())
    ways = ", ".join(f"{count} by {step}" for step, count in coverage["mapped"].items()) or "none"
    lines = [
        f"{collection} has {found} of {coverage['judged']} judged documents ({coverage['judged_share']:.1%}): {ways}",
        f"and {coverage['relevant_mapped']} of {coverage['relevant']} relevant ones ({coverage['relevant_share']:.1%})",
    ]
    if coverage["merged"]:
        lines.append(f"{coverage['merged']} of them are the same document as another one")
    if coverage["lost_queries"]:
        names = ", ".join(coverage["lost_query_ids"])
        lines.append(f"{coverage['lost_queries']} of {coverage['queries']} queries have no relevant one there: {names}")
    lines += [f"  {missed['reason']}: {missed['doc']}" for missed in coverage["unmapped"]]
    for missed in coverage["ambiguous"]:
        uris = ", ".join(candidate["uri"] for candidate in missed["candidates"])
        lines.append(f"  ambiguous: {missed['doc']} is one of {missed['count']} by {missed['step']}: {uris}")
    hidden = sum(coverage["missed"].values()) - len(coverage["unmapped"]) - len(coverage["ambiguous"])
    _print([*lines, *([f"  and {hidden} more"] if hidden else [])], console)


def _print(lines: list[str], console: Console) -> None:
    for line in lines:
        console.print(printable(line), highlight=False, soft_wrap=True)
