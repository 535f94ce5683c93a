"""What each run of a benchmark has reached."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.evaluation.rendering.blocks import Block, Cell, Paragraph, Plot, Plots, Section, Table, Tone, columns
from app.evaluation.rendering.plots import HUES, Curve, Whisker, draw_curves, draw_whiskers
from app.evaluation.rendering.values import amount, interval, milliseconds, number, pair, score

Run = Mapping[str, Any]

OTHER_MEASURES = 3
"""That have a picture beside that of the primary one."""
PERCENTILES = ("p50", "p95", "p99", "mean")
BEST = Cell(text="★ best", tone=Tone.GOOD)
WORSE = Cell(text="▼ worse", tone=Tone.BAD)
NOT_TOLD = Cell(text="≈ not told apart", tone=Tone.UNSURE)
NOT_COMPARED = Cell(text="")


def order_runs(report: Mapping[str, Any]) -> list[Run]:
    """The highest by the primary measure first, those without it last."""
    primary = str(report.get("primary"))
    found = [(number(_metrics(run).get(primary)), run) for run in report.get("runs") or ()]
    return [run for _, run in sorted(found, key=lambda one: (one[0] is None, -(one[0] or 0.0)))]


def label_run(runs: Sequence[Run], run: Run) -> str:
    """Its place in the tables, and its name: long names may begin alike."""
    place = next(index for index, one in enumerate(runs, start=1) if one is run)
    return f"{place} · {run.get('name')}"


def describe_runs(report: Mapping[str, Any], runs: Sequence[Run]) -> Section:
    """All measures of all runs with their intervals, and how sure it is that one is worse than the best."""
    if not runs:
        nothing = Paragraph(text="There are no runs, so nothing was measured.")
        return Section(name="runs", heading="Runs", blocks=(nothing,))
    measures = [str(measure) for measure in report.get("measures") or ()]
    best = report.get("best") or {}
    rows = tuple(
        (
            Cell(text=label_run(runs, run)),
            _mark(run, best),
            *(_show_measure(run, measure) for measure in measures),
            *(Cell(text=amount(run.get(name))) for name in ("queries", "queries_failed", "queries_missing")),
        )
        for run in runs
    )
    table = Table(
        caption=f"Means over all judged queries with 95 % intervals, the highest {report.get('primary')} first",
        columns=columns("run", "beside the best", numbers=(*measures, "queries", "failed", "missing")),
        rows=rows,
    )
    return Section(name="runs", heading="Runs", blocks=(table, *_draw_measures(report, measures, runs)))


def describe_latency(runs: Sequence[Run]) -> Section:
    """How long the queries of each run took."""
    table = Table(
        caption="Milliseconds that a query took in model and search, without waiting for its turn",
        columns=columns("run", numbers=PERCENTILES),
        rows=tuple(
            (
                Cell(text=label_run(runs, run)),
                *(Cell(text=milliseconds(_latency(run).get(name))) for name in PERCENTILES),
            )
            for run in runs
        ),
    )
    return Section(name="latency", heading="Latency", blocks=(table, *_describe_curves(runs)))


def _metrics(run: Run) -> Mapping[str, Any]:
    found: Mapping[str, Any] = run.get("metrics") or {}
    return found


def _latency(run: Run) -> Mapping[str, Any]:
    found: Mapping[str, Any] = run.get("latency_ms") or {}
    return found


def _ends(run: Run, measure: str) -> object:
    return (run.get("ci95") or {}).get(measure)


def _show_measure(run: Run, measure: str) -> Cell:
    return Cell(text=score(_metrics(run).get(measure)), note=interval(_ends(run, measure)))


def _mark(run: Run, best: Mapping[str, Any]) -> Cell:
    name = run.get("name")
    if name == best.get("name"):
        return BEST
    if name in (best.get("better_than") or ()):
        return WORSE
    return NOT_TOLD if name in (best.get("not_told_from") or ()) else NOT_COMPARED


def _draw_measures(report: Mapping[str, Any], measures: Sequence[str], runs: Sequence[Run]) -> list[Block]:
    """A large picture of the primary measure, small ones of the first others."""
    primary = str(report.get("primary"))
    best = (report.get("best") or {}).get("name")
    others = [measure for measure in measures if measure != primary][:OTHER_MEASURES]
    large = _draw_measure(primary, runs, best)
    small = [plot for plot in (_draw_measure(measure, runs, best) for measure in others) if plot is not None]
    return [*([large] if large else []), *([Plots(plots=tuple(small))] if small else [])]


def _draw_measure(measure: str, runs: Sequence[Run], best: object) -> Plot | None:
    whiskers = []
    for run in runs:
        value = number(_metrics(run).get(measure))
        if value is not None:
            label, ends = label_run(runs, run), pair(_ends(run, measure))
            whiskers.append(Whisker(label=label, value=value, ends=ends, is_best=run.get("name") == best))
    if not whiskers:
        return None
    caption = f"{measure}: means with 95 % intervals; the band is the interval of the best run"
    return Plot(svg=draw_whiskers(whiskers, name=measure), caption=caption)


def _describe_curves(runs: Sequence[Run]) -> list[Block]:
    """A picture of how many queries were answered in which time, and its numbers."""
    read = [(run, [number(value) for value in _latency(run).get("curve") or ()]) for run in runs]
    full = [(run, [value for value in values if value is not None]) for run, values in read if None not in values]
    full = [(run, values) for run, values in full if values]
    if not full:
        return []
    curves = [
        Curve(label=label_run(runs, run), values=tuple(values), hue=index if index < HUES else None)
        for index, (run, values) in enumerate(full)
    ]
    others = f"; {len(curves) - HUES} others are grey" if len(curves) > HUES else ""
    plot = Plot(
        svg=draw_curves(curves, name="Latency: how many of the queries were answered in which time"),
        caption=f"Share of the queries that were answered within a time{others}",
        legend=tuple(curve.label for curve in curves[:HUES]),
    )
    return [plot, *_list_curves(curves)]


def _list_curves(curves: Sequence[Curve]) -> list[Block]:
    """A table for each number of points that curves have; all have the same."""
    tables = []
    for size in sorted({len(curve.values) for curve in curves}):
        shares = tuple(f"{100 * index / max(1, size - 1):.3g} %" for index in range(size))
        rows = tuple(
            (Cell(text=curve.label), *(Cell(text=milliseconds(value)) for value in curve.values))
            for curve in curves
            if len(curve.values) == size
        )
        caption = "Milliseconds within which this share of the queries was answered"
        tables.append(Table(caption=caption, columns=columns("run", numbers=shares), rows=rows))
    return [*tables]
