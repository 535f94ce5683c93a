"""A report as one HTML file: no scripts, and nothing is loaded from anywhere."""

from collections.abc import Mapping
from typing import Any

from app.evaluation.rendering.blocks import (
    Block,
    Cell,
    Column,
    Document,
    Fold,
    Listing,
    Paragraph,
    Plot,
    Plots,
    Section,
    Table,
)
from app.evaluation.rendering.document import compose
from app.evaluation.rendering.plots import draw_swatch
from app.evaluation.rendering.style import STYLE
from app.evaluation.rendering.texts import escape, fit

LONGEST_CELL = 200
LONGEST_SENTENCES = 1000
HEAD = (
    '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark">'
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)


def render_html(report: Mapping[str, Any], *, title: str) -> str:
    """The report of a benchmark as a page that can be mailed, printed and read on a phone."""
    document = compose(report, title=title)
    links = "".join(f'<li><a href="#{one.name}">{escape(one.heading)}</a></li>' for one in document.sections)
    sections = "\n".join(map(_write_section, document.sections))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{HEAD}<title>{_fit(title)}</title><style>{STYLE}</style></head>\n'
        f"<body><header>{_write_beginning(document)}"
        f'<nav aria-label="Contents"><ul>{links}</ul></nav></header>\n<main>{sections}</main></body></html>\n'
    )


def _write_beginning(document: Document) -> str:
    banners = "".join(map(_write_block, document.banners))
    answer = _fit(document.answer, longest=LONGEST_SENTENCES)
    return f'<h1><bdi>{_fit(document.title)}</bdi></h1><p class="answer" dir="auto">{answer}</p>{banners}'


def _write_section(section: Section) -> str:
    blocks = "\n".join(map(_write_block, section.blocks))
    return f'<section id="{section.name}"><h2>{escape(section.heading)}</h2>\n{blocks}</section>'


def _write_block(block: Block) -> str:
    match block:
        case Table():
            return _write_table(block)
        case Paragraph():
            kind = "" if block.tone is None else f' class="banner {block.tone.value}"'
            return f"<p{kind}>{_fit(block.text, longest=LONGEST_SENTENCES)}</p>"
        case Listing():
            items = "".join(f"<li><bdi>{_fit(item)}</bdi></li>" for item in block.items)
            return f"<ul>{items}</ul>"
        case Plot():
            return _write_plot(block)
        case Plots():
            return f'<div class="plots">{"".join(map(_write_plot, block.plots))}</div>'
        case Fold():
            blocks = "".join(map(_write_block, block.blocks))
            return f"<details><summary><bdi>{_fit(block.summary)}</bdi></summary>{blocks}</details>"


def _write_table(table: Table) -> str:
    """In a box of its own that can be moved sideways, with a finger or with keys."""
    head = "".join(map(_write_head, table.columns))
    body = "\n".join(f"<tr>{_write_row(table, row)}</tr>" for row in table.rows)
    caption = _fit(table.caption)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{caption}">'
        f"<table><caption><span>{caption}</span></caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _write_head(column: Column) -> str:
    kind = ' class="n"' if column.is_number else ""
    return f'<th scope="col"{kind}>{_fit(column.name)}</th>'


def _write_row(table: Table, row: tuple[Cell, ...]) -> str:
    first, *others = row
    named = f'<th scope="row">{_write_cell(first)}</th>'
    return named + "".join(
        f"<td{_kind_of(column, cell)}>{_write_cell(cell, is_number=column.is_number)}</td>"
        for column, cell in zip(table.columns[1:], others, strict=True)
    )


def _kind_of(column: Column, cell: Cell) -> str:
    kinds = [*(["n"] if column.is_number else []), *([cell.tone.value] if cell.tone else [])]
    return f' class="{" ".join(kinds)}"' if kinds else ""


def _write_cell(cell: Cell, *, is_number: bool = False) -> str:
    """Texts are isolated, so that one from right to left leaves what stands around it where it is."""
    text = _fit(cell.text) if is_number else f"<bdi>{_fit(cell.text)}</bdi>"
    return f"{text}<small><bdi>{_fit(cell.note)}</bdi></small>" if cell.note else text


def _write_plot(plot: Plot) -> str:
    items = "".join(f"<li>{draw_swatch(hue)}{_fit(label)}</li>" for hue, label in enumerate(plot.legend))
    legend = f"<ul>{items}</ul>" if items else ""
    return f"<figure><figcaption>{_fit(plot.caption)}{legend}</figcaption>{plot.svg}</figure>"


def _fit(text: str, *, longest: int = LONGEST_CELL) -> str:
    return fit(text, longest)
