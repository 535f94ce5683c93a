"""``vecloom bench`` and ``benchmarks``."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from rich.console import Console
from rich.table import Table

from app.cli.client import Client, CliError, collection_path
from app.cli.commands import see_through
from app.cli.datasets import name_by_content, upload_dataset
from app.cli.progress import printable
from app.cli.session import open_client
from app.settings import Settings

SHOWN_MEASURES = 2
"""Columns beside the primary one."""
REPORTS = {"json": "report.json", "markdown": "report.md", "html": "report.html"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What the command line says beside what the API takes in ``body``.

    Attributes:
        dataset: a folder or file to send, or the name of a dataset that the server has.
        split: which judgments of a folder in BEIR layout.
        limit_queries: how many of its queries, drawn by chance; all of them if it is None.
        into: a folder for the reports and the runs.
    """

    body: Mapping[str, Any]
    dataset: str | None = None
    split: str | None = None
    limit_queries: int | None = None
    into: Path | None = None


def read_json(given: str | None, *, what: str) -> Any:  # noqa: ANN401 — JSON
    """What an option says in JSON; None if it is not given.

    Raises:
        CliError: if it is no JSON.
    """
    try:
        return None if given is None else orjson.loads(given)
    except orjson.JSONDecodeError as error:
        raise CliError("invalid_usage", f"{what} is no JSON: {error}") from None


def settings_to_run(modes: str | None, runs: str | None, matrix: str | None) -> dict[str, Any]:
    """``runs`` or ``matrix`` as the API takes them; modes are one more list of the matrix.

    Raises:
        CliError: if they are no JSON, or the modes are said in two ways.
    """
    named = [mode.strip() for mode in modes.split(",") if mode.strip()] if modes else []
    said, expanded = read_json(runs, what="--runs"), read_json(matrix, what="--matrix")
    if said is not None and (named or expanded is not None):
        raise CliError("invalid_usage", "--runs says everything: leave --modes and --matrix out")
    if said is not None:
        return {"runs": said}
    if expanded is None:
        return {"matrix": {"mode": named}} if named else {}
    if not isinstance(expanded, dict):
        raise CliError("invalid_usage", "--matrix is an object: names of settings, each with a list of values")
    if named and "mode" in expanded:
        raise CliError("invalid_usage", "--modes and --matrix both say the mode")
    return {"matrix": {**({"mode": named} if named else {}), **expanded}}


async def bench(settings: Settings, name: str, options: BenchOptions, console: Console) -> dict[str, Any]:
    """Send the dataset if it lies here, measure, and wait; see ``see_through``."""

    async def begin(client: Client) -> dict[str, Any]:
        body = dict(options.body)
        if options.dataset is not None:
            body["dataset"] = await _find_dataset(client, options.dataset, options.split, options.limit_queries)
        operation: dict[str, Any] = await client.call("POST", collection_path(name, "benchmarks"), json=body)
        return operation

    async def conclude(client: Client, ended: dict[str, Any]) -> None:
        if options.into is not None and ended["state"] == "completed":
            try:
                await _write_out(client, ended["result"], options.into)
            except (CliError, OSError) as error:
                # what was measured is told all the same
                ended["not_written"] = f"{options.into}: {error}"

    return await see_through(settings, begin, console, conclude=conclude)


async def _find_dataset(client: Client, dataset: str, split: str | None, limit_queries: int | None) -> str:
    """Its id, once it is sent; what does not lie here the server knows by name."""
    path = find_local(dataset)
    if path is None:
        if split is not None or limit_queries is not None:
            raise CliError(
                "invalid_usage", "--split and --limit-queries choose of a dataset that lies here, not of one by name"
            )
        return dataset
    try:
        kept = await upload_dataset(client, path, None, split, limit_queries)
    except CliError as error:
        if error.code != "benchmark_dataset_exists":
            raise
        # another folder of the same name, or this one as it was before
        name = await asyncio.to_thread(name_by_content, path, split)
        kept = await upload_dataset(client, path, name, split, limit_queries)
    return str(kept["id"])


def find_local(dataset: str) -> Path | None:
    """The folder or file of this name; None if it can only be the name of a dataset that the server has.

    Raises:
        CliError: if it is a path, and nothing is there.
    """
    path = Path(dataset).expanduser()
    if path.exists():
        return path
    if "/" in dataset:
        raise CliError("source_not_found", f"there is no {dataset}; nothing was measured")
    return None


async def _write_out(client: Client, result: Mapping[str, Any], into: Path) -> None:
    """Reports, judgments and runs; what stands there under these names is replaced."""
    path = f"/benchmarks/{result['benchmark_id']}"
    files = {file: f"{path}/report?format={kind}" for kind, file in REPORTS.items()}
    files["qrels.trec"] = f"{path}/qrels"
    files |= {f"run-{number}.trec": f"{path}/runs/{number}/trec" for number, _ in enumerate(result["runs"], 1)}
    for name, address in files.items():
        await asyncio.to_thread(_write_file, into / name, await client.fetch(address))


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


async def list_benchmarks(settings: Settings, name: str, limit: int) -> Any:  # noqa: ANN401 — JSON
    """What was measured of a collection."""
    async with open_client(settings, worker=False) as client:
        return await client.call("GET", collection_path(name, "benchmarks"), params={"limit": limit})


async def read_report(settings: Settings, benchmark: str, kind: str) -> bytes:
    """A benchmark's report, written as ``kind`` says."""
    async with open_client(settings, worker=False) as client:
        return await client.fetch(f"/benchmarks/{quote(benchmark, safe='')}/report", params={"format": kind})


async def forget(settings: Settings, benchmark: str) -> None:
    """Delete a benchmark."""
    async with open_client(settings, worker=False) as client:
        await client.call("DELETE", f"/benchmarks/{quote(benchmark, safe='')}")


async def attach(settings: Settings, name: str, dataset: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 — JSON
    """Measure a collection with a dataset again and again."""
    async with open_client(settings, worker=False) as client:
        path = collection_path(name, "attached-benchmarks", quote(dataset, safe=""))
        return await client.call("PUT", path, json=dict(body))


async def detach(settings: Settings, name: str, dataset: str) -> None:
    """End that."""
    async with open_client(settings, worker=False) as client:
        await client.call("DELETE", collection_path(name, "attached-benchmarks", quote(dataset, safe="")))


async def list_attached(settings: Settings, name: str) -> Any:  # noqa: ANN401 — JSON
    """What is attached to a collection."""
    async with open_client(settings, worker=False) as client:
        return await client.call("GET", collection_path(name, "attached-benchmarks"))


# --- what is said -------------------------------------------------------------------------------


def bench_json(ended: Mapping[str, Any]) -> dict[str, Any]:
    """The contract's object."""
    result = ended.get("result") or {}
    shown = {
        "operation_id": ended["operation_id"],
        "state": ended["state"],
        "benchmark_id": result.get("benchmark_id"),
        "runs": result.get("runs", []),
        "best": result.get("best"),
        "coverage": result.get("coverage"),
        "verdicts": result.get("verdicts", []),
    }
    if ended.get("not_written"):
        shown["error"] = {"code": "system_error", "detail": f"not written: {ended['not_written']}"}
    if ended.get("error_code"):
        shown["error"] = {"code": ended["error_code"], "detail": ended["error_message"]}
    return shown


def bench_exit_code(ended: Mapping[str, Any]) -> int:
    """0 only if it completed and no condition failed or could not be told; 3 if queries had no answer."""
    result = ended.get("result") or {}
    if (
        ended["state"] != "completed"
        or ended.get("not_written")
        or any(one["outcome"] != "passed" for one in result.get("verdicts", []))
    ):
        return 1
    return 3 if result.get("queries_failed") else 0


def show_benchmark(ended: Mapping[str, Any], console: Console) -> None:
    """Means with their intervals, what differs significantly, what the conditions say."""
    result = ended.get("result") or {}
    if ended["state"] != "completed":
        detail = (
            f"{ended['error_code']}: {printable(ended.get('error_message') or '')}" if ended.get("error_code") else ""
        )
        console.print(f"[red]{ended['state']}[/red] {detail}".rstrip(), highlight=False, soft_wrap=True)
        return
    console.print(_runs_table(result["runs"], result["primary"]))
    for line in _words(result):
        console.print(line, highlight=False, soft_wrap=True)
    for verdict in result["verdicts"]:
        colour = {"passed": "green", "failed": "red"}.get(verdict["outcome"], "yellow")
        words = f"[{colour}]{verdict['outcome'].replace('_', ' ')}[/{colour}]"
        console.print(f"{words}: {printable(verdict['words'])}", highlight=False, soft_wrap=True)
    if ended.get("not_written"):
        console.print(f"[red]not written[/red] {printable(ended['not_written'])}", highlight=False, soft_wrap=True)
    console.print(
        f"[dim]benchmark {result['benchmark_id']}; its report: vecloom benchmarks report {result['benchmark_id']}"
        " --format html[/dim]",
        highlight=False,
        soft_wrap=True,
    )


def _runs_table(runs: Sequence[Mapping[str, Any]], primary: str) -> Table:
    """No wider than a terminal of 80 characters."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("run", overflow="fold", min_width=16)
    others = [name for name in (runs[0]["metrics"] if runs else {}) if name != primary and not _is_judged(name)]
    first = [name for name in ("recall@100", "map", "mrr", "recall@10") if name in others]
    columns = [*first, *(name for name in others if name not in first)][:SHOWN_MEASURES]
    for name in (primary, "95 %", *columns, "p50", "p95 ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        low, high = run["ci95"][primary]
        latency = [run["latency_ms"][name] for name in ("p50", "p95")]
        table.add_row(
            printable(run["name"]),
            f"{run['metrics'][primary]:.4f}",
            f"{low:.3f} to {high:.3f}",
            *(f"{run['metrics'][name]:.4f}" for name in columns),
            *("-" if milliseconds is None else f"{milliseconds:.1f}" for milliseconds in latency),
        )
    return table


def _is_judged(measure: str) -> bool:
    return measure.startswith("judged")


def _tell_judged(runs: Sequence[Mapping[str, Any]]) -> str:
    """How much of what was found somebody has judged: where that is little, the other figures say little."""
    name = next(filter(_is_judged, runs[0]["metrics"]))
    values = [run["metrics"][name] for run in runs]
    span = f"{min(values):.0%}" if len(runs) == 1 else f"{min(values):.0%} to {max(values):.0%}"
    return f"{name}: {span} of what was found was judged"


def _words(result: Mapping[str, Any]) -> list[str]:
    lines = []
    if result["best_words"]:
        lines.append(printable(result["best_words"]))
    coverage = result["coverage"]
    lines.append(
        f"{result['queries']} queries; the collection has {coverage['mapped']} of {coverage['judged']} judged documents"
    )
    lines.append(_tell_judged(result["runs"]))
    if result["is_synthetic"]:
        lines.append("[yellow]the queries were made of documents, nobody has judged them[/yellow]")
    if result["queries_failed"]:
        lines.append(f"[yellow]{result['queries_failed']} queries had no answer[/yellow]")
    lines += [f"[yellow]{printable(note)}[/yellow]" for note in result.get("notes", [])]
    return lines


def show_benchmarks(answer: Mapping[str, Any], console: Console) -> None:
    """One line a benchmark, with its best run."""
    rows = [("benchmark", "when", "state", "dataset", "runs", "best", "value", "conditions")]
    for one in answer["benchmarks"]:
        primary = one["config"]["primary"]
        best = max(one["runs"], key=lambda run: run["metrics"][primary], default=None)
        rows.append(
            (
                one["benchmark_id"],
                one["created_at"][5:16].replace("T", " "),
                one["state"],
                (one["dataset"] or "-") + (" (made of documents)" if one["is_synthetic"] else ""),
                str(len(one["runs"])),
                best["name"] if best else one["error_code"] or "",
                f"{primary} {best['metrics'][primary]:.4f}" if best else "",
                ", ".join(dict.fromkeys(verdict["outcome"].replace("_", " ") for verdict in one["verdicts"])),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True))
        console.print(printable(line.rstrip()), highlight=False, soft_wrap=True)


def show_attached(answer: Mapping[str, Any], console: Console) -> None:
    """One line a dataset, and when it is run."""
    if not answer["attached"]:
        console.print("no dataset is attached; vecloom benchmarks attach COLLECTION --dataset NAME", highlight=False)
    for one in answer["attached"]:
        said = [
            *(["gate of rebuilds"] if one["is_gate"] else []),
            *(["after each rebuild"] if one["after_reindex"] else []),
            *([f"every {one['every_seconds'] / 3600:g} h"] if one["every_seconds"] else []),
        ]
        line = f"{one['dataset']}: {', '.join(said)}"
        if one["last_error_code"]:
            line += f"; could not be begun: {one['last_error_code']}"
        console.print(printable(line), highlight=False, soft_wrap=True)
