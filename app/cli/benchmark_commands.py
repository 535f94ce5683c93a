"""The commands that measure search quality, as the command line takes them."""

import sys
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from app.api.benchmarks import ReportFormat
from app.cli import benchmarks as measuring
from app.cli.client import CliError
from app.cli.running import Data, Json, err, fail, out, print_json, run_command, settings_of


def bench(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    dataset: Annotated[
        str | None, typer.Option(help="A folder or file with judged queries, or the name of a dataset sent before.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Which judgments of a folder in BEIR layout.")] = None,
    limit_queries: Annotated[int | None, typer.Option(help="Draw so many of the dataset's queries by chance.")] = None,
    synthetic: Annotated[int | None, typer.Option(help="Make queries of so many documents instead.")] = None,
    modes: Annotated[str | None, typer.Option(help="Such as dense,bm25,hybrid.")] = None,
    runs: Annotated[str | None, typer.Option(help="Settings of search, a JSON list; docs/search.md.")] = None,
    matrix: Annotated[
        str | None, typer.Option(help="""Values of settings, JSON, as '{"fusion_k": [10, 60]}'; all combinations.""")
    ] = None,
    generation: Annotated[list[str] | None, typer.Option(help="Also of another generation than `active`.")] = None,
    top_k: Annotated[int | None, typer.Option(help="How many documents each query asks for [100].")] = None,
    measures: Annotated[str | None, typer.Option(help="Such as ndcg@10,map; docs/metrics.md.")] = None,
    primary: Annotated[str | None, typer.Option(help="The measure that runs are compared by [ndcg@10].")] = None,
    baseline: Annotated[str | None, typer.Option(help="A benchmark to compare with, or BENCHMARK:RUN.")] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option(help='Exit with 1 if this holds, as "ndcg@10 < baseline - 0.01".')
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Queries at the same time [4].")] = None,
    output: Annotated[Path | None, typer.Option("--out", help="A folder for reports and runs.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Measure how well searches find what people judged right, and wait."""
    if (dataset is None) == (synthetic is None):
        fail("invalid_usage", "say --dataset, or --synthetic N to make queries of documents", as_json=as_json)
    try:
        said = measuring.settings_to_run(modes, runs, matrix)
    except CliError as error:
        fail(error.code, error.detail, as_json=as_json)
    chosen: dict[str, Any] = {
        "synthetic": synthetic,
        "generations": ["active", *generation] if generation else None,
        "top_k": top_k,
        "measures": [one.strip() for one in measures.split(",")] if measures else None,
        "primary": primary,
        "baseline": baseline,
        "fail_if": fail_if,
        "concurrency": concurrency,
        **said,
    }
    body = {key: value for key, value in chosen.items() if value is not None}
    options = measuring.BenchOptions(body=body, dataset=dataset, split=split, limit_queries=limit_queries, into=output)
    ended = run_command(lambda: measuring.bench(settings_of(data), name, options, err), as_json=as_json)
    print_json(measuring.bench_json(ended)) if as_json else measuring.show_benchmark(ended, out)
    raise typer.Exit(measuring.bench_exit_code(ended))


benchmarks = typer.Typer(help="Look at benchmarks, and have them run again and again.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the collection.")]
Benchmark = Annotated[str, typer.Argument(help="Id of a benchmark.")]
Dataset = Annotated[str, typer.Option(help="Id or name of a dataset; `vecloom datasets` lists them.")]


@benchmarks.command("list")
def list_them(
    name: Name,
    limit: Annotated[int, typer.Option(help="How many, newest first.")] = 20,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """What was measured of a collection, newest first."""
    answer = run_command(lambda: measuring.list_benchmarks(settings_of(data), name, limit), as_json=as_json)
    print_json(answer) if as_json else measuring.show_benchmarks(answer, out)


@benchmarks.command()
def report(
    benchmark: Benchmark,
    format: Annotated[ReportFormat, typer.Option(help="How it is written.")] = ReportFormat.MARKDOWN,  # noqa: A002 — the option's usual name
    data: Data = None,
) -> None:
    """The whole report on stdout: intervals, significance, queries won and lost, the worst queries and why."""
    text = run_command(lambda: measuring.read_report(settings_of(data), benchmark, format.value), as_json=False)
    sys.stdout.write(text.decode().rstrip("\n") + "\n")


@benchmarks.command()
def remove(benchmark: Benchmark, data: Data = None, as_json: Json = False) -> None:
    """Forget a benchmark and its results."""
    run_command(lambda: measuring.forget(settings_of(data), benchmark), as_json=as_json)
    print_json({"removed": benchmark}) if as_json else out.print("forgotten", highlight=False)


@benchmarks.command()
def attach(
    name: Name,
    dataset: Dataset,
    every_hours: Annotated[float | None, typer.Option(help="Run it by the clock.")] = None,
    gate: Annotated[bool, typer.Option(help="Rebuilds ask its queries too, and are refused if they find less.")] = True,
    after_reindex: Annotated[bool, typer.Option(help="Run it once another generation serves.")] = True,
    modes: Annotated[str | None, typer.Option(help="Such as dense,bm25,hybrid.")] = None,
    fail_if: Annotated[list[str] | None, typer.Option(help="Conditions; the baseline is the benchmark before.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Measure a collection with a dataset after each rebuild, by the clock, and as the gate of rebuilds."""
    body: dict[str, Any] = {"is_gate": gate, "after_reindex": after_reindex}
    if every_hours is not None and not isfinite(every_hours):
        fail("invalid_usage", "--every-hours is a number of hours", as_json=as_json)
    if every_hours is not None:
        body["every_seconds"] = round(every_hours * 3600)
    body |= measuring.settings_to_run(modes, None, None) | ({"fail_if": fail_if} if fail_if else {})
    answer = run_command(lambda: measuring.attach(settings_of(data), name, dataset, body), as_json=as_json)
    print_json(answer) if as_json else measuring.show_attached(answer, out)


@benchmarks.command()
def detach(name: Name, dataset: Dataset, data: Data = None, as_json: Json = False) -> None:
    """End that; what was measured stays."""
    run_command(lambda: measuring.detach(settings_of(data), name, dataset), as_json=as_json)
    print_json({"detached": dataset}) if as_json else out.print("detached", highlight=False)


@benchmarks.command()
def attached(name: Name, data: Data = None, as_json: Json = False) -> None:
    """What a collection is measured with again and again."""
    answer = run_command(lambda: measuring.list_attached(settings_of(data), name), as_json=as_json)
    print_json(answer) if as_json else measuring.show_attached(answer, out)
