"""Sections of Markdown: where they begin, and under which headings a place stands."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from app.pipeline.chunking.boundaries import HEADING, LINE, Boundary, find_lines

MARKS = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})(?P<info>.*)$"
    r"|^ {0,3}(?P<level>\#{1,6})[ \t]+(?P<title>\S.*?)(?:[ \t]+\#+)?[ \t\r]*$"
    r"|^ {0,3}(?P<under>[^\s>#|*+-].*)\r?\n {0,3}(?P<line>=+|-{2,})[ \t\r]*$",
    re.MULTILINE,
)
TITLE_CHARACTERS = 120
FENCE_CHARACTERS = 10_000
"""Longer code was not closed."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading and where its line begins."""

    at: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Outline:
    """Headings of a text in order, and the spans of its fenced code, where nothing is a heading."""

    headings: list[Heading]
    fences: list[tuple[int, int]]

    @property
    def starts(self) -> set[int]:
        """Where the lines of the headings begin."""
        return {heading.at for heading in self.headings}

    def path_at(self, place: int) -> tuple[str, ...]:
        """Titles of the headings that a place stands under, outermost first; a heading stands under itself."""
        path: list[Heading] = []
        last = bisect_right(self.headings, place, key=lambda heading: heading.at)
        level = 7
        for heading in reversed(self.headings[:last]):
            if heading.level < level:
                path.append(heading)
                level = heading.level
            if level == 1:
                break
        return tuple(heading.title for heading in reversed(path))


def read_outline(text: str) -> Outline:
    """Headings and fences of a Markdown text.

    A fence that names a language opens code even where code is open already, and code ends somewhere: a fence that was
    forgotten, or deleted, does not turn the rest of a text inside out.
    """
    headings: list[Heading] = []
    fences: list[tuple[int, int]] = []
    opened: tuple[int, str] | None = None
    for mark in MARKS.finditer(text):
        if opened is not None and mark.start() - opened[0] > FENCE_CHARACTERS:
            opened = None
        fence, opens = mark["fence"], bool((mark["info"] or "").strip())
        if not fence and opened is None:
            headings.append(_to_heading(mark))
        elif fence and (opened is None or opens):
            opened = (mark.start(), fence)
        elif fence and opened is not None and fence.startswith(opened[1]):
            fences.append((opened[0], mark.end()))
            opened = None
    return Outline(headings, fences)


def _to_heading(mark: re.Match[str]) -> Heading:
    if mark["level"]:
        return Heading(mark.start(), len(mark["level"]), mark["title"][:TITLE_CHARACTERS])
    return Heading(mark.start(), 1 if mark["line"].startswith("=") else 2, mark["under"].strip()[:TITLE_CHARACTERS])


def find_sections(text: str, outline: Outline) -> Iterator[Boundary]:
    """Sections by the level of their headings, then paragraphs and lines; code in fences has lines only."""
    levels = {heading.at: heading.level for heading in outline.headings}
    starts = [start for start, _ in outline.fences]
    for boundary in find_lines(text):
        fence = bisect_right(starts, boundary.at) - 1
        if boundary.at in levels:
            yield Boundary(boundary.at, HEADING + 1 - levels[boundary.at])
        elif fence >= 0 and starts[fence] < boundary.at < outline.fences[fence][1]:
            yield Boundary(boundary.at, LINE)
        else:
            yield boundary
