"""Pictures of numbers as SVG that fills the width it is given.

Places from left to right are percentages and texts stand inside, so nothing gets too small to read on a phone. Colours
come from the style of the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.evaluation.rendering.scales import Scale, make_latency_scale, make_scale
from app.evaluation.rendering.texts import fit
from app.evaluation.rendering.values import difference, interval, score

LEFT, WIDTH = 5.0, 90.0
"""Percent."""
TOP = 24
ROW = 36
LONGEST_LABEL, LONGEST_NAME = 40, 200
"""Characters, where a text is seen, and where it is only read out or pointed at."""
HEIGHT = 200
HUES = 6
"""Colours, each with dashes of its own, that tell lines apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisker:
    """A mean and its interval."""

    label: str
    value: float
    ends: tuple[float, float] | None
    is_best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Numbers in ascending order, at equal steps from 0 to 100 %; ``hue`` is None if it is one among many."""

    label: str
    values: tuple[float, ...]
    hue: int | None


def draw_whiskers(whiskers: Sequence[Whisker], *, name: str) -> str:
    """A row for each mean: its name, a dot, and a line as long as its interval."""
    ends = [end for one in whiskers for end in (one.value, *(one.ends or ()))]
    scale = make_scale(ends)
    height = TOP + ROW * len(whiskers) + 6
    rows = "".join(_draw_whisker(one, scale, TOP + ROW * index) for index, one in enumerate(whiskers))
    band = "".join(_draw_band(one, scale, height) for one in whiskers if one.is_best)
    return _wrap(_draw_ticks(scale, height) + band + rows, name=f"{name}: means and 95 % intervals", height=height)


def draw_curves(curves: Sequence[Curve], *, name: str) -> str:
    """Milliseconds from bottom to top, the share of queries that were answered in them from left to right."""
    scale = make_latency_scale([value for curve in curves for value in curve.values])
    lines = "".join(_draw_curve(curve, scale) for curve in sorted(curves, key=lambda one: one.hue is not None))
    levels = "".join(_draw_level(TOP + HEIGHT * (1 - scale.place(tick)), f"{tick:g} ms") for tick in scale.ticks)
    below = TOP + HEIGHT + 16
    shares = "".join(
        f'<text class="tick" text-anchor="middle" x="{_percent(part / 100)}" y="{below}">{part} %</text>'
        for part in (0, 25, 50, 75, 100)
    )
    return _wrap(levels + _stretch(lines, "0 0 100 100") + shares, name=name, height=TOP + HEIGHT + 24)


def draw_bars(values: Sequence[float], *, name: str) -> str:
    """A bar for each difference, the highest first; what is above the line was won, what is below was lost."""
    ordered = sorted(values, reverse=True)
    scale = make_scale([0.0, *values])
    zero = 100 * (1 - scale.place(0.0))
    width = 0.8 if len(ordered) <= 200 else 1.0
    bars = {"won": "", "lost": ""}
    for index, value in enumerate(ordered):
        if value:
            top = 100 * (1 - scale.place(value))
            kind = "won" if value > 0 else "lost"
            bars[kind] += f"M{index} {zero:.1f}V{top:.1f}h{width:g}V{zero:.1f}z"
    paths = "".join(f'<path class="{kind}" d="{path}"/>' for kind, path in bars.items() if path)
    levels = "".join(_draw_level(TOP + HEIGHT * (1 - scale.place(tick)), f"{tick:+g}") for tick in scale.ticks if tick)
    line = _draw_level(TOP + HEIGHT * zero / 100, "0", kind="zero")
    body = levels + _stretch(paths, f"0 0 {max(1, len(ordered))} 100") + line
    return _wrap(body, name=name, height=TOP + HEIGHT + 12)


def _draw_whisker(one: Whisker, scale: Scale, top: int) -> str:
    middle = top + 24
    kind = "dot best" if one.is_best else "dot"
    line = ""
    if one.ends is not None:
        low, high = (_percent(scale.place(end)) for end in one.ends)
        caps = "".join(
            f'<line class="whisker" x1="{x}" x2="{x}" y1="{middle - 4}" y2="{middle + 4}"/>' for x in (low, high)
        )
        line = f'<line class="whisker" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>{caps}'
    words = f"{one.label}: {score(one.value)} {interval(one.ends)}".rstrip()
    return (
        f"<g><title>{fit(words, LONGEST_NAME)}</title>"
        f'<text class="name" x="0" y="{top + 12}">{fit(one.label, LONGEST_LABEL)}</text>'
        f'<text class="figure" text-anchor="end" x="100%" y="{top + 12}">{score(one.value)}</text>'
        f'{line}<circle class="{kind}" cx="{_percent(scale.place(one.value))}" cy="{middle}" r="4.5"/></g>'
    )


def _draw_band(one: Whisker, scale: Scale, height: int) -> str:
    """The interval of the best one, behind all rows."""
    if one.ends is None:
        return ""
    low, high = (scale.place(end) for end in one.ends)
    wide = f"{WIDTH * (high - low):.2f}%"
    return f'<rect class="band" x="{_percent(low)}" y="{TOP}" width="{wide}" height="{height - TOP}"/>'


def _draw_ticks(scale: Scale, height: int) -> str:
    places = [(_percent(scale.place(tick)), f"{tick:.6g}") for tick in scale.ticks]
    return "".join(
        f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP - 6}" y2="{height}"/>'
        f'<text class="tick" text-anchor="middle" x="{x}" y="{TOP - 10}">{words}</text>'
        for x, words in places
    )


def _draw_level(y: float, words: str, *, kind: str = "grid") -> str:
    """A line from left to right, its number above it."""
    return (
        f'<line class="{kind}" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="0" y="{y - 3:.1f}">{words}</text>'
    )


def _draw_curve(curve: Curve, scale: Scale) -> str:
    last = max(1, len(curve.values) - 1)
    points = " ".join(
        f"{100 * index / last:g},{100 * (1 - scale.place(value)):.1f}" for index, value in enumerate(curve.values)
    )
    kind = "curve" if curve.hue is None else f"curve hue{curve.hue % HUES}"
    return f'<polyline class="{kind}" points="{points}"><title>{fit(curve.label, LONGEST_NAME)}</title></polyline>'


def draw_swatch(hue: int) -> str:
    """The line of a curve, for the words below a picture."""
    return (
        '<svg class="swatch" width="34" height="10" aria-hidden="true">'
        f'<polyline class="curve hue{hue % HUES}" points="1,5 33,5"/></svg>'
    )


def describe_bars(values: Sequence[float]) -> str:
    """What the bars show, in words."""
    return f"from {difference(max(values))} to {difference(min(values))} over {len(values)} queries"


def _stretch(body: str, box: str) -> str:
    return (
        f'<svg x="{LEFT:g}%" y="{TOP}" width="{WIDTH:g}%" height="{HEIGHT}" viewBox="{box}" '
        f'preserveAspectRatio="none">{body}</svg>'
    )


def _wrap(body: str, *, name: str, height: int) -> str:
    title = f"<title>{fit(name, LONGEST_NAME)}</title>"
    return f'<svg class="plot" role="img" width="100%" height="{height}">{title}{body}</svg>'


def _percent(place: float) -> str:
    return f"{LEFT + WIDTH * place:.2f}%"
