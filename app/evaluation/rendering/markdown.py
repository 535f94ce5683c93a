"""A report as GitHub-flavoured Markdown: the same as the page, without its pictures."""

from collections.abc import Iterable, Mapping
from typing import Any

from app.evaluation.rendering.blocks import Block, Cell, Fold, Listing, Paragraph, Plot, Plots, Section, Table
from app.evaluation.rendering.document import compose
from app.evaluation.rendering.texts import escape, escape_markdown, shorten, unping

LONGEST_CELL = 120
LONGEST_SENTENCES = 1000


def render_markdown(report: Mapping[str, Any], *, title: str) -> str:
    """The report of a benchmark as text for a pull request or a terminal."""
    document = compose(report, title=title)
    parts = [
        f"# {_fit(title)}",
        f"**{_fit(document.answer, longest=LONGEST_SENTENCES)}**",
        *(f"> {_fit(banner.text, longest=LONGEST_SENTENCES)}" for banner in document.banners),
        *(part for section in document.sections for part in _write_section(section)),
    ]
    return "\n\n".join(parts) + "\n"


def _write_section(section: Section) -> Iterable[str]:
    return [f"## {_fit(section.heading)}", *_write_blocks(section.blocks)]


def _write_blocks(blocks: Iterable[Block]) -> list[str]:
    return [_write_block(block) for block in blocks if not isinstance(block, Plot | Plots)]


def _write_block(block: Table | Paragraph | Listing | Fold) -> str:
    match block:
        case Table():
            return _write_table(block)
        case Paragraph():
            return _fit(block.text, longest=LONGEST_SENTENCES)
        case Listing():
            return "\n".join(f"- {_fit(item)}" for item in block.items)
        case Fold():
            inner = "\n\n".join(_write_blocks(block.blocks))
            summary = escape(unping(shorten(block.summary, LONGEST_CELL)))
            return f"<details><summary>{summary}</summary>\n\n{inner}\n\n</details>"


def _write_table(table: Table) -> str:
    head = _write_row(_fit(column.name) for column in table.columns)
    line = _write_row("---:" if column.is_number else "---" for column in table.columns)
    rows = (_write_row(map(_write_cell, row)) for row in table.rows)
    return "\n".join([f"{_fit(table.caption)}:", "", head, line, *rows])


def _write_row(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _write_cell(cell: Cell) -> str:
    return f"{_fit(cell.text)} ({_fit(cell.note)})" if cell.note else _fit(cell.text)


def _fit(text: str, *, longest: int = LONGEST_CELL) -> str:
    return escape_markdown(shorten(text, longest))
