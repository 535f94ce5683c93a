"""Writes a PDF of plain text: pages of Helvetica with a compressed content stream each, as most programs write them."""

import textwrap
import zlib
from collections.abc import Sequence

LINES_PER_PAGE = 46
CHARACTERS_PER_LINE = 88
FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"


def render_pdf(title: str, paragraphs: Sequence[str]) -> bytes:
    """A file with as many pages as the paragraphs need."""
    lines = [line for paragraph in paragraphs for line in (*textwrap.wrap(paragraph, CHARACTERS_PER_LINE), "")]
    starts = range(0, max(len(lines), 1), LINES_PER_PAGE)
    contents = [_content([title, "", *lines[start : start + LINES_PER_PAGE]]) for start in starts]
    first_page = 4
    kids = b" ".join(b"%d 0 R" % (first_page + 2 * index) for index in range(len(contents)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%b] /Count %d >>" % (kids, len(contents)),
        FONT,
    ]
    for index, content in enumerate(contents):
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (first_page + 2 * index + 1),
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(content), content),
        ]
    objects.append(b"<< /Title %b >>" % _string(title))
    return _assemble(objects)


def _content(lines: Sequence[str]) -> bytes:
    shown = b"\n".join(b"%b Tj T*" % _string(line) for line in lines)
    return zlib.compress(b"BT /F1 10 Tf 56 790 Td 16 TL\n%b\nET" % shown)


def _string(text: str) -> bytes:
    escaped = text.encode("cp1252", "replace")
    for character in (b"\\", b"(", b")"):
        escaped = escaped.replace(character, b"\\" + character)
    return b"(%b)" % escaped


def _assemble(objects: Sequence[bytes]) -> bytes:
    """The objects with their cross-reference table; the last one is the document's information."""
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = len(out)
    size = len(objects) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n" % size
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, size - 1, table)
    return bytes(out)
