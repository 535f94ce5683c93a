"""Reading, extracting and chunking documents, format by format and fault by fault."""

import io
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import date
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import docx as docx_library
import pytest
from openpyxl import Workbook
from pptx import Presentation

from app.domain.documents import (
    NEVER_SEEN_NS,
    Chunking,
    FileVersion,
    Locator,
    PreparedDocument,
    PrepareRequest,
)
from app.pipeline.extract import ExtractionError, extract
from app.pipeline.prepare import prepare_documents, read_content
from app.pipeline.records import is_record_file, scan_records

SENTENCE = "Whales sing in the deep ocean"


def pdf(text: str, *, trailer: bytes = b"") -> bytes:
    """A small real PDF with one page of text (none gives an empty page)."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else b"0 0 10 10 re f"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
            b" /Resources << /Font << /F1 5 0 R >> >> >>"
        ),
        b"<< /Length " + str(len(stream)).encode() + b" >>\nstream\n" + stream + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n".encode() + content + b"\nendobj\n"
    table = b"".join(f"{offset:010d} 00000 n \n".encode() for offset in offsets)
    size = str(len(objects) + 1).encode()
    head = b"xref\n0 " + size + b"\n0000000000 65535 f \n" + table
    start = str(len(body)).encode()
    return (
        body
        + head
        + b"trailer\n<< /Size "
        + size
        + b" /Root 1 0 R "
        + trailer
        + b" >>\nstartxref\n"
        + start
        + b"\n%%EOF"
    )


def encrypted_pdf() -> bytes:
    """A PDF whose user password is not empty (standard handler, revision 2, keys that cannot match)."""
    trailer = (
        b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -44 /O <" + b"41" * 32 + b"> /U <" + b"42" * 32 + b"> >>"
        b" /ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>]"
    )
    return pdf(SENTENCE, trailer=trailer)


def archive(members: dict[str, str]) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def docx() -> bytes:
    """A Word file with a heading, a paragraph and a table."""
    document = docx_library.Document()
    document.core_properties.title = "Songs of the sea"
    document.add_heading("Songs", level=1)
    document.add_paragraph(SENTENCE)
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "animal", "humpback"
    return saved(document)


def pptx() -> bytes:
    """A presentation of two slides, with speaker notes."""
    presentation = Presentation()
    for title, body in (("First", "Opening words"), ("Songs", SENTENCE)):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, body
    presentation.slides[0].notes_slide.notes_text_frame.text = "Remember to breathe"
    return saved(presentation)


def xlsx() -> bytes:
    """A workbook of two sheets, with a number, a date and a formula."""
    workbook = Workbook(write_only=True)
    first = workbook.create_sheet("Animals")
    first.append(["animal", "what"])
    first.append(["whale", SENTENCE])
    second = workbook.create_sheet("Figures")
    second.append([1234.5, date(2024, 2, 29), "=A1*2"])
    return saved(workbook)


def epub() -> bytes:
    """A book of two chapters."""
    container = (
        '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">1</dc:identifier>'
        "<dc:title>Songs</dc:title><dc:language>en</dc:language></metadata><manifest>"
        '<item id="one" href="one.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="two" href="two.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="one"/><itemref idref="two"/></spine></package>'
    )
    page = '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head><body><p>{}</p></body></html>'
    return archive(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "book.opf": package,
            "one.xhtml": page.format("Chapter one is short."),
            "two.xhtml": page.format(SENTENCE),
        }
    )


class Saves(Protocol):
    """A document of one of the Office libraries."""

    def save(self, target: Any, /) -> None:
        """Write itself."""


def saved(document: Saves) -> bytes:
    """Its bytes."""
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def email() -> bytes:
    """A mail."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Songs", "a@example.org", "b@example.org"
    message.set_content(SENTENCE)
    return message.as_bytes()


def request_for(path: Path, *, max_bytes: int = 2**20, **options: Any) -> PrepareRequest:
    """What a child process is asked about a file."""
    document: dict[str, Any] = {"document_id": uuid4(), "uri": path.as_uri(), "path": path.name, "known_hash": None}
    return PrepareRequest(**{**document, "locator": Locator(path=str(path)), "max_bytes": max_bytes, **options})


def prepare(path: Path, *, known_hash: bytes | None = None, max_bytes: int = 2**20) -> PreparedDocument:
    """Prepare one file."""
    request = request_for(path, known_hash=known_hash, max_bytes=max_bytes)
    return prepare_documents([request], Chunking())[0]


GOOD = {
    "plain.txt": SENTENCE.encode(),
    "note.md": f"# Songs\n\n{SENTENCE}".encode(),
    "page.html": f"<html><head><title>Songs</title></head><body><p>{SENTENCE}</p></body></html>".encode(),
    "table.csv": f"animal,what\nwhale,{SENTENCE}".encode(),
    "data.json": f'{{"what": "{SENTENCE}"}}'.encode(),
    "code.py": f"# {SENTENCE}\nprint(1)".encode(),
    "paper.pdf": pdf(SENTENCE),
    "renamed.txt": pdf(SENTENCE),
    "letter.docx": docx(),
    "talk.pptx": pptx(),
    "drawing.svg": f'<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/><text>{SENTENCE}</text></svg>'.encode(),
    "sheet.xlsx": xlsx(),
    "book.epub": epub(),
    "mail.eml": email(),
    "utf16.txt": SENTENCE.encode("utf-16"),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_format_gives_its_text(name: str, tmp_path: Path) -> None:
    """The sentence inside the file is in a chunk."""
    (tmp_path / name).write_bytes(GOOD[name])

    prepared = prepare(tmp_path / name)

    assert prepared.error_code is None
    assert any(SENTENCE in chunk.text for chunk in prepared.chunks)


PARTS = {
    "letter.docx": ("Songs", SENTENCE, "animal", "humpback"),
    "talk.pptx": ("First", "Opening words", "Remember to breathe", SENTENCE),
    "sheet.xlsx": ("whale", SENTENCE, "Figures", "1234.5", "2024-02-29"),
    "book.epub": ("Chapter one is short.", SENTENCE),
    "drawing.svg": (SENTENCE,),
    "mail.eml": ("Subject: Songs", "a@example.org", SENTENCE),
    "table.csv": ("animal", "whale", SENTENCE),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_document_gives_all_its_parts_in_order(name: str) -> None:
    """Tables, notes, sheets, chapters and headers are text too."""
    text = extract(GOOD[name], name).text

    places = [text.find(part) for part in PARTS[name]]

    assert -1 not in places
    assert places == sorted(places)


def test_a_drawing_gives_its_words_and_not_its_paths() -> None:
    """Of an SVG only text is text."""
    text = extract(GOOD["drawing.svg"], "drawing.svg").text

    assert "M0 0" not in text
    assert "xmlns" not in text


@pytest.mark.parametrize(
    ("name", "title"),
    [("note.md", "Songs"), ("page.html", "Songs"), ("letter.docx", "Songs of the sea"), ("book.epub", "Songs")],
)
def test_a_document_has_its_own_title(name: str, title: str) -> None:
    """The title of heading or metadata, not the file's name."""
    assert extract(GOOD[name], name).title == title


@pytest.mark.parametrize("name", ["letter.docx", "talk.pptx", "sheet.xlsx", "book.epub"])
def test_any_cut_of_an_archive_is_one_code(name: str) -> None:
    """Wherever an office file is cut off or damaged, it is a code and no exception."""
    content = GOOD[name]
    for share in (0.1, 0.5, 0.9, 0.99):
        end = int(len(content) * share)
        with pytest.raises(ExtractionError) as cut:
            extract(content[:end], name)
        assert cut.value.code == "corrupt_document"
    damaged = content[: len(content) // 2] + bytes(64) + content[len(content) // 2 + 64 :]
    with suppress(ExtractionError):  # anything else fails this test
        extract(damaged, name)


BAD = {
    "zero.txt": (b"", "empty_document"),
    "blank.txt": (b" \n\t ", "empty_document"),
    "picture.md": (b"\x89PNG\r\n\x1a\n" + bytes(64), "needs_ocr"),
    "binary.txt": (b"abc\x00\x01\x02" * 20, "unsupported_format"),
    "not-a.pdf": (b"just words", "corrupt_document"),
    "truncated.pdf": (pdf(SENTENCE)[:80], "corrupt_document"),
    "encrypted.pdf": (encrypted_pdf(), "encrypted_document"),
    "scan.pdf": (pdf(""), "needs_ocr"),
    "broken.docx": (docx()[:200], "corrupt_document"),
    "other.docx": (archive({"readme.txt": "hello"}), "unsupported_format"),
    "bomb.docx": (archive({"word/document.xml": "0" * 30_000_000}), "archive_bomb"),
}


@pytest.mark.parametrize("name", BAD)
def test_every_bad_file_has_its_code(name: str, tmp_path: Path) -> None:
    """A bad file is an error code and a message without a path, never an exception."""
    content, code = BAD[name]
    (tmp_path / name).write_bytes(content)

    prepared = prepare(tmp_path / name)

    assert prepared.error_code == code
    assert prepared.error_message
    assert str(tmp_path) not in prepared.error_message


def test_bytes_that_are_not_utf8_are_read_all_the_same(tmp_path: Path) -> None:
    """Another encoding is detected, and nothing fails."""
    (tmp_path / "old.txt").write_bytes(
        "Das Café an der Straße ist schön, die Öffnungszeiten sind kürzer.".encode("cp1252")
    )

    prepared = prepare(tmp_path / "old.txt")

    assert prepared.error_code is None
    assert "Stra" in prepared.chunks[0].text


def test_a_nul_in_a_text_format_never_reaches_the_database(tmp_path: Path) -> None:
    """JSON may smuggle a NUL in; it is taken out."""
    (tmp_path / "lines.jsonl").write_text('{"_id": "1", "text": "before\\u0000after"}\n')
    record = PrepareRequest(
        document_id=uuid4(),
        uri="file:///x",
        path="x",
        locator=Locator(path=str(tmp_path / "lines.jsonl"), offset=0, length=100),
        known_hash=None,
        max_bytes=100,
    )

    prepared = prepare_documents([record], Chunking())[0]

    assert prepared.chunks[0].text == "beforeafter"


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    """Nobody knows what was read then, so it is no version that a scan can see."""
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.truncate(2**28)
    version = FileVersion(size=2**28, modified_ns=path.stat().st_mtime_ns)
    request = request_for(path, max_bytes=2**28, seen_version=version)

    _, still = read_content(request)
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read_content, request)
        while not reading.done():
            os.utime(path, ns=(version.modified_ns, version.modified_ns))
    _, changing = reading.result()

    assert still is None
    assert changing == FileVersion(size=2**28, modified_ns=NEVER_SEEN_NS)


def test_a_file_that_is_gone_or_too_large_is_not_read(tmp_path: Path) -> None:
    """Both are codes of one document."""
    (tmp_path / "large.txt").write_bytes(b"x" * 2000)

    assert prepare(tmp_path / "gone.txt").error_code == "file_vanished"
    assert prepare(tmp_path / "large.txt", max_bytes=1000).error_code == "document_too_large"
    assert prepare(tmp_path).error_code == "unreadable_file"


def test_known_content_is_not_extracted(tmp_path: Path) -> None:
    """The same sha256 stops after reading."""
    (tmp_path / "same.txt").write_text(SENTENCE)
    first = prepare(tmp_path / "same.txt")

    second = prepare(tmp_path / "same.txt", known_hash=first.content_hash)

    assert second.unchanged
    assert "extract" not in second.seconds


def test_records_are_scanned_in_pages(tmp_path: Path) -> None:
    """Pages meet without a gap; bad lines are named and do not stop the scan."""
    path = tmp_path / "corpus.jsonl"
    lines = [f'{{"_id": "{number}", "text": "t"}}' for number in range(5)]
    lines.insert(2, "not json")
    path.write_text("\n".join(lines) + os.linesep)

    first, offset = scan_records(str(path), 0, 4)
    assert offset is not None
    second, end = scan_records(str(path), offset, 4)

    assert is_record_file(str(path))
    assert end is None
    assert [record[0] for record in first + second] == ["0", "1", None, "2", "3", "4"]
    assert [record[4] for record in first + second].count("invalid_record") == 1


def test_what_breaks_a_library_costs_one_document(tmp_path: Path) -> None:
    """A tokenizer that cannot be read fails the document that is counted with it, and not the one beside it."""
    path = tmp_path / "note.md"
    path.write_text(f"# Songs\n\n{SENTENCE}")
    good = request_for(path)

    broken, fine = prepare_documents([replace(good, tokenizer=str(tmp_path / "missing.json")), good], Chunking())

    assert broken.error_code == "extraction_failed"
    assert fine.error_code is None
    assert [chunk.headings for chunk in fine.chunks] == [("Songs",)]
