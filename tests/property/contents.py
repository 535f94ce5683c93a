"""Contents of files whose text is known without reading them."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath

SUBJECTS = ("Whales", "Rockets", "Bakers", "Comets", "Rivers", "Owls", "Miners")
"""One paragraph of each; a paragraph is about as long as a chunk may be."""
WHITE_SPACE = b" \n\t\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Bytes of a file, and its text or the error code of a document that has none."""

    data: bytes
    text: str | None = None
    code: str | None = None

    @property
    def digest(self) -> bytes:
        """What the manifest knows it by."""
        return sha256(self.data).digest()

    @property
    def name(self) -> str:
        """A few characters for people."""
        return self.code or sha256(self.data).hexdigest()[:6]


def paragraph_of(number: int) -> str:
    """A paragraph that is no part of another one."""
    return f"{SUBJECTS[number]} are described in paragraph {number} with some words that nobody else has."


def make_content(path: str, paragraphs: Sequence[int], *, damaged: bool) -> Content:
    """What a file of this name holds: some paragraphs, or nothing that can be read."""
    texts = [paragraph_of(number) for number in paragraphs]
    if PurePosixPath(path).suffix == ".pdf":
        return _make_pdf(texts[0], damage=1 + paragraphs[0] % 2 if damaged else 0)
    if damaged:
        return Content(data=WHITE_SPACE * len(texts), code="empty_document")
    text = "\n\n".join(texts)
    return Content(data=text.encode(), text=text)


def _make_pdf(line: str, *, damage: int) -> Content:
    """A PDF of one line, or one that is cut off, or one without any text."""
    show = b"" if damage == 2 else b"BT /F 12 Tf 10 100 Td (" + line.encode() + b") Tj ET"
    data = b"\n".join(
        (
            b"%PDF-1.4",
            b"1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj",
            b"2 0 obj <</Type /Pages /Kids [3 0 R] /Count 1>> endobj",
            b"3 0 obj <</Type /Page /Parent 2 0 R /MediaBox [0 0 2000 200] /Contents 4 0 R",
            b"/Resources <</Font <</F 5 0 R>>>>>> endobj",
            b"4 0 obj <</Length %d>> stream\n%s\nendstream endobj" % (len(show), show),
            b"5 0 obj <</Type /Font /Subtype /Type1 /BaseFont /Helvetica>> endobj",
            b"trailer <</Root 1 0 R>>\n%%EOF\n",
        )
    )
    if damage == 1:
        return Content(data=data[: data.index(b"2 0 obj")] + line.encode(), code="corrupt_document")
    if damage == 2:
        return Content(data=data + line.encode(), code="needs_ocr")
    return Content(data=data, text=line)
