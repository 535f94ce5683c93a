"""Formats, encodings and pages: real files, and what becomes of them when they are damaged."""

import bz2
import json
import lzma
import random
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest

from app.domain.documents import Ocr
from app.pipeline.extract import ExtractionError, decode, detect_type, extract
from tests.pipeline.compound import compound_file
from tests.pipeline.test_prepare import GOOD, SENTENCE, pdf

SAMPLES = Path(__file__).parent / "samples"
TESSERACT = shutil.which("tesseract")
needs_tesseract = pytest.mark.skipif(TESSERACT is None, reason="Tesseract is not installed")

NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {"kernelspec": {"language": "python"}},
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Songs\n", SENTENCE]},
        {
            "cell_type": "code",
            "metadata": {},
            "source": "print(40 + 2)",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["42\n"]},
                {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo", "text/plain": "<Figure>"}},
                {"output_type": "error", "ename": "ValueError", "evalue": "too deep", "traceback": ["\x1b[0;31mlong"]},
            ],
        },
    ],
}
SPREADSHEET = (
    '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"'
    ' xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
    ' xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body><office:spreadsheet>'
    '<table:table table:name="Animals"><table:table-row><table:table-cell office:value-type="string">'
    f"<text:p>{SENTENCE}</text:p></table:table-cell></table:table-row></table:table>"
    "</office:spreadsheet></office:body></office:document-content>"
)


def ods() -> bytes:
    """An Open Document spreadsheet."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", SPREADSHEET)
        archive.writestr(
            "META-INF/manifest.xml", '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
        )
    return buffer.getvalue()


def msg() -> bytes:
    """A mail as Outlook saves it."""
    return compound_file(
        {
            "__properties_version1.0": bytes(32),
            "__substg1.0_001A001F": "IPM.Note".encode("utf-16-le"),
            "__substg1.0_0037001F": "Songs".encode("utf-16-le"),
            "__substg1.0_1000001F": SENTENCE.encode("utf-16-le"),
        }
    )


FILES = {
    "letter.doc": (SAMPLES / "letter.doc").read_bytes(),
    "letter.odt": (SAMPLES / "letter.odt").read_bytes(),
    "letter.rtf": (SAMPLES / "letter.rtf").read_bytes(),
    "sheet.xls": (SAMPLES / "sheet.xls").read_bytes(),
    "talk.odp": (SAMPLES / "talk.odp").read_bytes(),
    "talk.ppt": lzma.decompress((SAMPLES / "talk.ppt.xz").read_bytes()),
    "sheet.ods": ods(),
    "mail.msg": msg(),
    "table.tsv": f"animal\twhat\nwhale\t{SENTENCE}\n".encode(),
    "data.yaml": f"what: {SENTENCE}\n".encode(),
    "data.xml": f'<?xml version="1.0"?><sea><song at="7">{SENTENCE}</song></sea>'.encode(),
    "book.ipynb": json.dumps(NOTEBOOK).encode(),
    "lines.jsonl": f'{{"note": "{SENTENCE}"}}\n'.encode(),
}
TYPES = {
    "letter.doc": "application/msword",
    "letter.odt": "application/vnd.oasis.opendocument.text",
    "letter.rtf": "application/rtf",
    "sheet.xls": "application/vnd.ms-excel",
    "talk.odp": "application/vnd.oasis.opendocument.presentation",
    "talk.ppt": "application/vnd.ms-powerpoint",
    "sheet.ods": "application/vnd.oasis.opendocument.spreadsheet",
    "mail.msg": "application/vnd.ms-outlook",
    "table.tsv": "text/tab-separated-values",
    "data.yaml": "application/yaml",
    "data.xml": "application/xml",
    "book.ipynb": "application/x-ipynb+json",
    "lines.jsonl": "application/jsonl",
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_its_text_and_type(name: str) -> None:
    """The sentence inside is in the text, and the type is the real one."""
    extracted = extract(FILES[name], name)

    assert SENTENCE in extracted.text
    assert extracted.mime_type == TYPES[name]


@pytest.mark.parametrize("name", ["letter.doc", "letter.odt", "letter.rtf", "sheet.xls", "talk.ppt", "mail.msg"])
def test_an_office_file_is_known_by_its_content(name: str) -> None:
    """A wrong name does not matter."""
    assert extract(FILES[name], "note.txt").mime_type == TYPES[name]


@pytest.mark.parametrize(
    ("name", "mime_type"),
    [("a.rs", "text/x-rust"), ("a.go", "text/x-go"), ("a.ts", "text/x-typescript"), ("a.unknown", "text/plain")],
)
def test_code_has_the_type_of_its_language(name: str, mime_type: str) -> None:
    """By its suffix; text of unknown kind is plain."""
    assert detect_type(b"let whale = 1", name) == mime_type


def test_a_notebook_reads_like_a_document() -> None:
    """Words, code and text outputs in order; no pictures and no colours."""
    extracted = extract(FILES["book.ipynb"], "book.ipynb")

    assert extracted.title == "Songs"
    assert extracted.text == (
        f"# Songs\n{SENTENCE}\n\n```python\nprint(40 + 2)\n```\n\n```\n42\n```\n\n```\n<Figure>\n```"
        "\n\n```\nValueError: too deep\n```"
    )


def test_xml_gives_words_and_no_tags() -> None:
    """Entities and literal sections are words, comments and declarations are not."""
    head = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "y">]>'
    content = head + b'<a><!-- no --><b k="v">x &amp; y</b><c><![CDATA[1 < 2]]></c></a>'

    assert extract(content, "data.xml").text == "x & y\n1 < 2"


def test_rows_of_tables_stay_rows() -> None:
    """Cells of one row stand on one line."""
    assert f"whale\t{SENTENCE}" in extract(FILES["table.tsv"], "table.tsv").text
    assert any("whale" in line and SENTENCE in line for line in extract(FILES["sheet.xls"], "a.xls").text.split("\n"))


GERMAN = "Das Café an der Straße ist schön, die Öffnungszeiten sind kürzer als früher.\n"
FRENCH = "Le garçon a mangé des crêpes à la fête; où est l'élève français ?\n"
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy, říká děvče. Zażółć gęślą jaźń.\n"
RUSSIAN = "Киты поют в глубоком океане, и их песни слышны за сотни километров.\n"
JAPANESE = "鯨は深い海で歌う。その歌は何百キロも先まで聞こえる。カタカナとひらがな。\n"
CHINESE = "鲸鱼在深海中歌唱。它们的歌声可以传到几百公里以外的地方。\n"
KOREAN = "고래는 깊은 바다에서 노래한다. 그 노래는 수백 킬로미터 밖에서도 들린다.\n"


@pytest.mark.parametrize("lines", [1, 40])
@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", GERMAN),
        ("latin-1", FRENCH),
        ("cp1250", CZECH),
        ("cp1251", RUSSIAN),
        ("koi8-r", RUSSIAN),
        ("shift_jis", JAPANESE),
        ("euc_jp", JAPANESE),
        ("gb18030", CHINESE),
        ("euc_kr", KOREAN),
        ("utf-8-sig", RUSSIAN),
        ("utf-16", RUSSIAN),
        ("utf-32", RUSSIAN),
        ("utf-16-le", GERMAN),
        ("utf-16-be", GERMAN),
    ],
)
def test_a_text_of_any_encoding_is_read_as_it_was_written(encoding: str, text: str, lines: int) -> None:
    """With a mark or without, long or short."""
    content = (text * lines).encode(encoding)

    assert extract(content, "old.txt").text == text * lines


def test_the_encoding_a_page_names_counts() -> None:
    """It is followed where it can be."""
    page = f'<html><head><meta charset="koi8-r"></head><body><p>{RUSSIAN}</p></body></html>'.encode("koi8-r")

    assert RUSSIAN.strip() in extract(page, "page.html").text


def test_a_few_bad_bytes_do_not_make_utf8_another_encoding() -> None:
    """A text cut in the middle of a character loses that character alone."""
    content = (RUSSIAN * 50).encode()[:-2]

    assert decode(content).startswith(RUSSIAN * 49)


def pages(*texts: str) -> bytes:
    """A PDF with one page for each text; an empty one is a page with a picture."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(texts)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(texts)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    picture = b"q 100 0 0 100 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \xff EI Q"
    for number, text in enumerate(texts):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else picture
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R"
        objects.append(f"{page} /Resources << /Font << /F1 3 0 R >> >> >>".encode())
        objects.append(b"<< /Length %d >>\nstream\n%b\nendstream" % (len(stream), stream))
    body = b"%PDF-1.4\n"
    for number, content in enumerate(objects, start=1):
        body += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    return body + b"trailer\n<< /Size %d /Root 1 0 R >>\n%%%%EOF" % (len(objects) + 1)


def test_pages_are_read_in_order_over_all_windows() -> None:
    """No page is lost or doubled where one window ends and the next begins."""
    texts = [f"page {number} of the song" for number in range(205)]

    assert extract(pages(*texts), "long.pdf").text.split("\n\n") == texts


def test_pictures_among_pages_of_text_are_counted() -> None:
    """The text there is completes the document, and how many pages it lacks is known."""
    extracted = extract(pages(SENTENCE, "", ""), "mixed.pdf")

    assert extracted.text == SENTENCE
    assert extracted.pages_without_text == 2


MEASURE = """
import resource, sys
from app.pipeline.extract import extract
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
text = extract(open(sys.argv[1], "rb").read(), "long.pdf").text
print(len(text), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_number_of_pages(tmp_path: Path) -> None:
    """4 000 pages need a few times their text and their bytes, not gigabytes."""
    content = pages(*(f"page {number} " + "of the song " * 8 for number in range(4000)))
    (tmp_path / "long.pdf").write_bytes(content)

    command = [sys.executable, "-c", MEASURE, str(tmp_path / "long.pdf")]
    characters, kilobytes = map(int, subprocess.check_output(command, text=True).split())

    assert characters > 4000 * 100
    assert kilobytes < 100 * 1024


@pytest.mark.parametrize("magic", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\x00", b"MM\x00*"])
def test_a_picture_needs_ocr(magic: bytes) -> None:
    """It may hold text, unlike other binary files."""
    with pytest.raises(ExtractionError) as picture:
        extract(magic + bytes(64), "scan.tiff")

    assert picture.value.code == "needs_ocr"


def picture_of(text: str) -> bytes:
    """A PNG of words in large letters."""
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415 — only where Tesseract is installed

    image = Image.new("L", (1200, 120), 255)
    ImageDraw.Draw(image).text((20, 30), text, fill=0, font=ImageFont.load_default(size=48))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def scanned_pdf(text: str) -> bytes:
    """A PDF whose only page is a picture."""
    from PIL import Image  # noqa: PLC0415 — see above

    buffer = BytesIO()
    Image.open(BytesIO(picture_of(text))).save(buffer, "PDF", resolution=100)
    return buffer.getvalue()


@needs_tesseract
def test_a_scan_is_read_where_tesseract_is_installed() -> None:
    """Pictures, and pages that are pictures, give their words."""
    ocr = Ocr(program=str(TESSERACT), languages="eng")

    assert SENTENCE in extract(picture_of(SENTENCE), "scan.png", ocr).text
    assert SENTENCE in extract(scanned_pdf(SENTENCE), "scan.pdf", ocr).text
    with pytest.raises(ExtractionError) as without:
        extract(scanned_pdf(SENTENCE), "scan.pdf")
    assert without.value.code == "needs_ocr"


@needs_tesseract
def test_a_picture_that_ocr_cannot_read_is_one_code() -> None:
    """A damaged picture and a language that is not installed cost one document."""
    for content, languages in ((picture_of("x")[:60], "eng"), (picture_of("x"), "nolanguage")):
        with pytest.raises(ExtractionError) as failed:
            extract(content, "scan.png", Ocr(program=str(TESSERACT), languages=languages))
        assert failed.value.code == "ocr_failed"


BAD = {
    "book.ipynb": (b'{"cells": [3]}', "corrupt_document"),
    "other.ipynb": (b"not json", "corrupt_document"),
    "other.doc": (compound_file({"Contents": b"x"}), "unsupported_format"),
    "locked.docx": (compound_file({"EncryptedPackage": b"x"}), "encrypted_document"),
    "talk.odp": (FILES["talk.odp"][:3000], "corrupt_document"),
    "packed.txt": (bz2.compress(b"x"), "unsupported_format"),
    "numbers.bin": (bytes(range(256)), "unsupported_format"),
}


@pytest.mark.parametrize("name", BAD)
def test_every_bad_file_has_its_code(name: str) -> None:
    """What cannot be read says why."""
    content, code = BAD[name]

    with pytest.raises(ExtractionError) as bad:
        extract(content, name)

    assert bad.value.code == code


ALL = {**GOOD, **FILES, "paper.pdf": pdf(SENTENCE), "mixed.pdf": pages(SENTENCE, "")}


@pytest.mark.parametrize("name", ALL)
def test_no_damage_breaks_more_than_a_document(name: str) -> None:
    """Cut anywhere, or with bytes changed anywhere, a file gives text or a code and nothing else."""
    chance = random.Random(name)  # noqa: S311 — a repeatable choice of damage
    for _ in range(25):
        content = bytearray(ALL[name][: chance.randrange(1, len(ALL[name]) + 1)])
        for _ in range(chance.randrange(8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        with suppress(ExtractionError):  # anything else fails this test
            assert extract(bytes(content), name).text.strip()
