"""A map as a PNG with its labels and legend, for documents and mails."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.projection.page import split_label
from app.projection.points import Points

Pixels: TypeAlias = NDArray[np.float64]
Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom."""

WIDTH, HEIGHT = 1600, 1200
MARGIN = 40
HEAD = 96
LEGEND = 330
LEGEND_LINES = 26
LONGEST_NAME = 40
INK, SOFT, PAGE = (15, 23, 42), (71, 85, 105), (255, 255, 255)
OPACITY = 0.62
POINTS_AT_ONCE = 100_000
ROTATION = np.array([[0.825, 0.0, 0.565], [-0.194, 0.939, 0.283]])
"""How a map in 3-D is looked at: what goes to the right, and what goes up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """How coordinates become pixels."""

    middle: NDArray[np.float64]
    scale: float

    def place(self, coordinates: NDArray[np.floating]) -> NDArray[np.float64]:
        """Pixels, float64 (n, 2); upwards in the map is upwards in the picture."""
        moved = (flatten(np.asarray(coordinates, dtype=np.float64)) - self.middle) * self.scale
        centre = np.array([(WIDTH - LEGEND) / 2, HEAD + (HEIGHT - HEAD - MARGIN) / 2])
        return np.asarray(centre + moved * np.array([1.0, -1.0]))


def flatten(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """The picture of a map has two dimensions."""
    return coordinates if coordinates.shape[1] == 2 else coordinates @ ROTATION.T


def write_picture(path: Path, points: Points, *, title: str, colour_by: str, facts: str) -> None:
    """Write the picture, 1600 by 1200."""
    frame = _find_frame(points)
    image = Image.fromarray(_paint_points(points, frame), "RGB")
    pen = ImageDraw.Draw(image)
    pen.text((MARGIN, 24), _fit(pen, title, 30, WIDTH - 2 * MARGIN), fill=INK, font=_font(30))
    pen.text((MARGIN, 64), _fit(pen, facts, 17, WIDTH - 2 * MARGIN), fill=SOFT, font=_font(17))
    if not len(points):
        pen.text((WIDTH / 2, HEIGHT / 2), "There are no points yet.", fill=SOFT, font=_font(22), anchor="mm")
    _paint_legend(pen, points, colour_by)
    _paint_labels(pen, points, frame)
    _reduce_colours(image).save(path, format="PNG", optimize=True)


def _reduce_colours(image: Image.Image) -> Image.Image:
    """256 of them: a third of the bytes, and no difference that could be seen; the page stays as white as it is."""
    reduced = image.quantize(colors=256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette = reduced.getpalette() or []
    page = 3 * int(np.asarray(reduced)[-1, -1])
    palette[page : page + 3] = PAGE
    reduced.putpalette(palette)
    return reduced


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _find_frame(points: Points) -> Frame:
    found = flatten(np.asarray(points.coordinates[points.finite], dtype=np.float64))
    if not len(found):
        return Frame(middle=np.zeros(2), scale=1.0)
    low, high = found.min(axis=0), found.max(axis=0)
    room = np.array([WIDTH - LEGEND - 2 * MARGIN, HEIGHT - HEAD - 2 * MARGIN])
    with np.errstate(divide="ignore"):
        scale = float((room / (high - low)).min())
    return Frame(middle=(low + high) / 2, scale=scale if np.isfinite(scale) else 1.0)


def _paint_points(points: Points, frame: Frame) -> NDArray[np.uint8]:
    """Discs with soft edges; where many lie, the colour is the mean of theirs, and stronger."""
    weights: Pixels = np.zeros(WIDTH * HEIGHT)
    colours: Pixels = np.zeros((3, WIDTH * HEIGHT))
    palette = np.full((256, 3), 255.0)
    for index, _, _, colour in points.categories.count():
        palette[index] = colour
    disc = list(_draw_disc(max(1.3, 5.0 * (1000 / max(len(points), 1)) ** 0.22)))
    for start in range(0, len(points), POINTS_AT_ONCE):
        block = slice(start, start + POINTS_AT_ONCE)
        finite = np.isfinite(points.coordinates[block]).all(axis=1)
        columns, rows = np.rint(frame.place(points.coordinates[block][finite])).astype(np.int64).T
        own = palette[points.categories.of[block][finite]].T
        for right, down, weight in disc:
            x, y = columns + right, rows + down
            inside = (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
            places = y[inside] * WIDTH + x[inside]
            np.add.at(weights, places, weight)
            for channel in range(3):
                np.add.at(colours[channel], places, weight * own[channel][inside])
    cover = 1 - (1 - OPACITY) ** weights
    mixed = colours / np.maximum(weights, 1e-9) * cover + 255.0 * (1 - cover)
    return np.ascontiguousarray(mixed.T.reshape(HEIGHT, WIDTH, 3).round().astype(np.uint8))


def _draw_disc(radius: float) -> Iterator[tuple[int, int, float]]:
    """Pixels around a point, and how much of each its disc covers."""
    reach = int(radius + 1)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            weight = min(1.0, max(0.0, radius + 0.5 - (right**2 + down**2) ** 0.5))
            if weight:
                yield right, down, weight


def _paint_legend(pen: ImageDraw.ImageDraw, points: Points, colour_by: str) -> None:
    left, top = WIDTH - LEGEND, HEAD + 24
    found = points.categories.count()
    if not found:
        return
    pen.text((left, top - 8), _fit(pen, f"Colour: {colour_by}", 18, LEGEND - MARGIN), fill=SOFT, font=_font(18))
    for line, (_, name, count, colour) in enumerate(found[:LEGEND_LINES]):
        y = top + 36 + line * 34
        pen.ellipse((left, y - 8, left + 16, y + 8), fill=colour)
        number = f"{count:,}"
        room = LEGEND - MARGIN - 36 - pen.textlength(number, font=_font(15))
        pen.text((left + 26, y), _fit(pen, name, 16, room), fill=INK, font=_font(16), anchor="lm")
        pen.text((WIDTH - MARGIN, y), number, fill=SOFT, font=_font(15), anchor="rm")
    if len(found) > LEGEND_LINES:
        y = top + 36 + LEGEND_LINES * 34
        pen.text((left, y), f"… and {len(found) - LEGEND_LINES} more", fill=SOFT, font=_font(15), anchor="lm")


def _paint_labels(pen: ImageDraw.ImageDraw, points: Points, frame: Frame) -> None:
    """Coarse clusters large, then as many fine ones as there is room for, each with its first term."""
    taken: list[Box] = []
    coarse = [one for one in points.described if one["level"] == 0]
    fine = [one for one in points.described if one["level"] == 1]
    said = {split_label(one["label"])[0] for one in coarse if one["label"]}
    for clusters, sizes, lines in ((coarse, (27, 17), 2), (fine, (15,), 1)):
        for one in clusters:
            label = split_label(one["label"])[:lines]
            if not label or (lines == 1 and label[0] in said):
                continue
            place = frame.place(np.array([[one[axis] for axis in "xyz" if axis in one]]))[0]
            _paint_label(pen, label, sizes, place, taken)


def _paint_label(
    pen: ImageDraw.ImageDraw, label: Sequence[str], sizes: Sequence[int], place: NDArray[np.float64], taken: list[Box]
) -> None:
    """At its place or a little above or below it; not at all where others have been written."""
    lines = [_fit(pen, line, size, 420) for line, size in zip(label, sizes, strict=False)]
    wide = max(pen.textlength(line, font=_font(size)) for line, size in zip(lines, sizes, strict=False)) / 2 + 6
    high = sum(size * 1.15 for size in sizes[: len(lines)]) / 2 + 3
    x = min(max(float(place[0]), wide + 4), WIDTH - LEGEND - wide)
    for step in (0, -1, 1, -1.8, 1.8):
        y = min(max(float(place[1]) + step * high, HEAD + high), HEIGHT - high)
        box = (x - wide, y - high, x + wide, y + high)
        if not any(_overlap(box, other) for other in taken):
            break
    else:
        return
    taken.append(box)
    down = box[1] + 3
    for line, size in zip(lines, sizes, strict=False):
        middle = (x, down + size * 1.15 / 2)
        pen.text(
            middle, line, fill=INK, font=_font(size), anchor="mm", stroke_width=3 if size > 20 else 2, stroke_fill=PAGE
        )
        down += size * 1.15


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _fit(pen: ImageDraw.ImageDraw, text: str, size: int, room: float) -> str:
    """As much of a text as there is room for."""
    cut = text[: 4 * LONGEST_NAME]
    while len(cut) > 1 and pen.textlength(cut if cut == text else f"{cut}…", font=_font(size)) > room:
        cut = cut[:-1]
    return cut if cut == text else f"{cut.rstrip()}…"
