"""What a report is made of, before it is written as HTML or Markdown.

All texts are plain and may come from anyone; whoever writes them cuts and escapes them.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Tone(StrEnum):
    """How a text is coloured; the text says the same in words."""

    GOOD = "good"
    BAD = "bad"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A text of a table, and a smaller one that belongs to it."""

    text: str
    note: str = ""
    tone: Tone | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The head of a column."""

    name: str
    is_number: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows with as many cells as there are columns; the first of each names its row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """A few sentences; ``tone`` makes a banner of them."""

    text: str
    tone: Tone | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Short texts, one below the other."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A picture as finished SVG, and what it shows; its numbers stand in a table too, for Markdown has no pictures."""

    svg: str
    caption: str
    legend: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plots:
    """Pictures that stand beside each other where there is room."""

    plots: tuple[Plot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """What is seen only when asked for."""

    summary: str
    blocks: "tuple[Block, ...]"


Block: TypeAlias = Table | Paragraph | Listing | Plot | Plots | Fold


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and what stands below it; ``name`` is its address in the page."""

    name: str
    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A whole report; ``answer`` is the one sentence that says what came out."""

    title: str
    answer: str
    banners: tuple[Paragraph, ...]
    sections: tuple[Section, ...]


def columns(*texts: str, numbers: tuple[str, ...] = ()) -> tuple[Column, ...]:
    """Columns of texts, then columns of numbers."""
    return (*(Column(name=name) for name in texts), *(Column(name=name, is_number=True) for name in numbers))


def cells(*texts: str) -> tuple[Cell, ...]:
    """A row of texts alone."""
    return tuple(Cell(text=text) for text in texts)
