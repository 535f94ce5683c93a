"""One made-up text in each of the formats that a folder of real documents has."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from email.message import EmailMessage

import docx
import openpyxl
import pptx

from benchmarks.corpus import Text, render_html, render_markdown, render_text
from benchmarks.pdf import render_pdf

EPOCH = (1980, 1, 1, 0, 0, 0)
CELLS = 4
_TIMES = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def list_paragraphs(text: Text) -> list[str]:
    """Headings and paragraphs in order."""
    return [part for heading, paragraphs in text.sections for part in (heading, *paragraphs)]


def _pdf(text: Text) -> bytes:
    return render_pdf(text.title, list_paragraphs(text))


def _docx(text: Text) -> bytes:
    document = docx.Document()
    document.add_heading(text.title, 0)
    for heading, paragraphs in text.sections:
        document.add_heading(heading, 1)
        for paragraph in paragraphs:
            document.add_paragraph(paragraph)
    return _packed(document.save)


def _pptx(text: Text) -> bytes:
    deck = pptx.Presentation()
    for heading, paragraphs in ((text.title, ()), *text.sections):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        title = slide.shapes.title
        if title is not None:
            title.text = heading
        slide.placeholders[1].text_frame.text = "\n".join(paragraphs)
    return _packed(deck.save)


def _xlsx(text: Text) -> bytes:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet(text.title[:30])
    for row in _rows(text):
        sheet.append(row)
    return _packed(book.save)


def _packed(save: Callable[[io.BytesIO], None]) -> bytes:
    """The saved archive without the time of its making, so that the same text is always the same file."""
    written, out = io.BytesIO(), io.BytesIO()
    save(written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename == "docProps/core.xml":
                content = _TIMES.sub(b"2020-01-01T00:00:00Z", content)
            target.writestr(zipfile.ZipInfo(entry.filename, EPOCH), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _rows(text: Text) -> Iterator[list[str | int]]:
    yield ["number", "section", "note", "words"]
    sentences = (
        (heading, sentence)
        for heading, paragraphs in text.sections
        for paragraph in paragraphs
        for sentence in paragraph.split(". ")
    )
    for number, (heading, sentence) in enumerate(sentences, start=1):
        yield [number, heading, sentence, len(sentence.split())]


def _csv(text: Text) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(_rows(text))
    return out.getvalue().encode()


def _json(text: Text) -> bytes:
    sections = [{"heading": heading, "paragraphs": paragraphs} for heading, paragraphs in text.sections]
    return json.dumps({"title": text.title, "sections": sections}, indent=2).encode()


def _python(text: Text) -> bytes:
    """A module with a function for each section and its paragraphs as docstrings and comments."""
    parts = [f'"""{text.title}."""', "import json\nfrom pathlib import Path"]
    for heading, paragraphs in text.sections:
        name = re.sub(r"\W+", "_", heading.lower())
        body = "\n".join(
            f"    # {sentence.strip()}\n    total += len(json.dumps({sentence.split()[:CELLS]!r}))"
            for paragraph in paragraphs
            for sentence in paragraph.split(". ")
        )
        parts.append(
            f'def {name}(path: Path, total: int = 0) -> int:\n    """{heading}."""\n{body}\n'
            "    return total + path.stat().st_size"
        )
    return ("\n\n\n".join(parts) + "\n").encode()


def _mail(text: Text) -> bytes:
    message = EmailMessage()
    message["From"], message["To"] = "author@example.org", "reader@example.org"
    message["Subject"] = text.title
    message["Date"] = "Wed, 01 Jan 2020 00:00:00 +0000"
    message["Message-ID"] = f"<{text.title.split()[-1]}@example.org>"
    message.set_content("\n\n".join(list_paragraphs(text)) + "\n")
    return message.as_bytes()


FORMATS: dict[str, Callable[[Text], bytes]] = {
    "md": lambda text: render_markdown(text).encode(),
    "txt": lambda text: render_text(text).encode(),
    "html": lambda text: render_html(text).encode(),
    "pdf": _pdf,
    "docx": _docx,
    "csv": _csv,
    "json": _json,
    "py": _python,
    "eml": _mail,
    "xlsx": _xlsx,
    "pptx": _pptx,
}
