"""Content to text, whatever the format. Runs in child processes; heavy libraries are imported when first needed."""

import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from charset_normalizer import from_bytes

from app.domain.errors import PermanentError

PDF = "application/pdf"
HTML = "text/html"
MARKDOWN = "text/markdown"
PLAIN = "text/plain"
SVG = "image/svg+xml"
OOXML = "application/vnd.openxmlformats-officedocument."
MOST_UNPACKED_BYTES = 512 * 1024 * 1024
MOST_RATIO = 200
SNIFF_BYTES = 4096
TITLE_CHARACTERS = 200

OFFICE_MEMBERS = {
    "word/": OOXML + "wordprocessingml.document",
    "ppt/": OOXML + "presentationml.presentation",
    "xl/": OOXML + "spreadsheetml.sheet",
}
TEXT_TYPES = {
    ".md": MARKDOWN, ".markdown": MARKDOWN, ".mdx": MARKDOWN, ".rst": "text/x-rst", ".csv": "text/csv",
    ".tsv": "text/tab-separated-values", ".json": "application/json", ".jsonl": "application/jsonl",
    ".yaml": "application/yaml", ".yml": "application/yaml", ".xml": "application/xml", ".py": "text/x-python",
    ".svg": SVG,
}  # fmt: skip
FOREIGN_MAGIC = (
    b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"\x7fELF", b"MZ", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!",
    b"RIFF", b"OggS", b"ID3", b"\x00\x00\x01\x00", b"SQLite format 3", b"II*\x00", b"MM\x00*", b"\xca\xfe\xba\xbe",
    b"PAR1", b"wOFF", b"\x28\xb5\x2f\xfd",
)  # fmt: skip


class ExtractionError(PermanentError):
    """A document gives no text; ``code`` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # one class for the many ways a document can be bad


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """Text of a document, its real type and its title, if it has one."""

    text: str
    mime_type: str
    title: str | None = None


def detect_type(content: bytes, path: str) -> str:
    """The mime type by content first, by name second.

    Raises:
        ExtractionError: ``unsupported_format`` for content that holds no text.
    """
    suffix = PurePosixPath(path.partition("#")[0]).suffix.lower()
    head = content[:SNIFF_BYTES]
    if b"%PDF-" in head[:1024]:
        return PDF
    if head.startswith(b"PK\x03\x04") or suffix in (".docx", ".pptx", ".xlsx", ".epub"):
        return _detect_zip(content)
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return _refuse("an old binary office file; save it in a newer format")
    if suffix == ".pdf":
        raise ExtractionError("corrupt_document", "named .pdf, but it has no PDF header")
    if head.startswith(FOREIGN_MAGIC) or _is_binary(head):
        return _refuse("its content is binary, not text")
    return _detect_text(head, suffix)


def _refuse(message: str) -> str:
    raise ExtractionError("unsupported_format", message)


def _detect_text(head: bytes, suffix: str) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if suffix in (".html", ".htm", ".xhtml") or start.startswith((b"<!doctype html", b"<html")):
        return HTML
    if suffix == ".eml":
        return "message/rfc822"
    return TEXT_TYPES.get(suffix, PLAIN)


def _is_binary(head: bytes) -> bool:
    """Zero bytes in places where UTF-16 would not have them."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    return b"\x00" in head


def _detect_zip(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            kind = archive.read("mimetype").decode("ascii", "replace") if "mimetype" in archive.namelist() else ""
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ExtractionError("corrupt_document", "the office file's archive cannot be read") from error
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MOST_UNPACKED_BYTES or unpacked > MOST_RATIO * max(len(content), 64 * 1024):
        raise ExtractionError("archive_bomb", f"the file would unpack to {unpacked} bytes")
    if kind.startswith("application/epub"):
        return "application/epub+zip"
    for entry in entries:
        for member, mime_type in OFFICE_MEMBERS.items():
            if entry.filename.startswith(member):
                return mime_type
    return _refuse("an archive, not a document")


def extract(content: bytes, path: str) -> Extracted:
    """Text of a document.

    Raises:
        ExtractionError: with the document's error code.
    """
    if not content.strip():
        raise ExtractionError("empty_document", "the file is empty")
    mime_type = detect_type(content, path)
    extracted = _extractor_of(mime_type)(content, mime_type)
    text = clean(extracted.text)
    if not text.strip():
        raise ExtractionError("empty_document", "the document holds no text")
    return Extracted(text=text, mime_type=mime_type, title=_clean_title(extracted.title))


def _extractor_of(mime_type: str) -> Callable[[bytes, str], Extracted]:
    if mime_type == PDF:
        return _extract_pdf
    if mime_type in (HTML, SVG) or mime_type.startswith(("application/vnd.", "application/epub", "message/")):
        return _extract_office
    return _extract_text


def clean(text: str) -> str:
    """Text that Postgres and JSON can hold: no NULs, no lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def _clean_title(title: str | None) -> str | None:
    return clean(" ".join(title.split()))[:TITLE_CHARACTERS] or None if title else None


def decode(content: bytes) -> str:
    """Text of bytes in any encoding; UTF-8 unless that is impossible."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        best = from_bytes(content[: 256 * 1024]).best()
        return content.decode(best.encoding if best else "latin-1", "replace")


def _extract_text(content: bytes, mime_type: str) -> Extracted:
    text = decode(content)
    title = None
    if mime_type == MARKDOWN and (heading := re.search(r"^#{1,2}\s+(.+?)\s*#*$", text[:20_000], re.MULTILINE)):
        title = heading.group(1)
    return Extracted(text=text, mime_type=mime_type, title=title)


def _extract_pdf(content: bytes, mime_type: str) -> Extracted:
    import pypdfium2  # noqa: PLC0415 — heavy, and not every child meets a PDF

    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise ExtractionError("encrypted_document", "the PDF is protected by a password") from error
        raise ExtractionError("corrupt_document", "the PDF is damaged or cut off") from error
    try:
        texts = [_page_text(document, number) for number in range(len(document))]
        title = document.get_metadata_value("Title") or None
    finally:
        document.close()
    text = "\n\n".join(part for part in texts if part)
    if not text.strip():
        raise ExtractionError("needs_ocr", f"{len(texts)} pages without text: a scan that needs OCR")
    return Extracted(text=text, mime_type=mime_type, title=title)


def _page_text(document: "object", number: int) -> str:
    page = document[number]  # type: ignore[index]  # the library is imported where it is needed
    try:
        text_page = page.get_textpage()
        try:
            return str(text_page.get_text_bounded()).replace("\r\n", "\n").strip()
        finally:
            text_page.close()
    finally:
        page.close()


def _extract_office(content: bytes, mime_type: str) -> Extracted:
    import kreuzberg  # noqa: PLC0415 — heavy, and not every child meets an office file

    try:
        result = kreuzberg.extract_bytes_sync(content, mime_type)
    except kreuzberg.KreuzbergError as error:
        raise ExtractionError(
            "corrupt_document", "the document cannot be read; it is damaged or not what it seems"
        ) from error
    metadata = dict(result.metadata)
    title = metadata.get("title") or metadata.get("subject")
    return Extracted(text=result.content, mime_type=mime_type, title=title if isinstance(title, str) else None)
