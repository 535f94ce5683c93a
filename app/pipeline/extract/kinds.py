"""What a document is: by its content first, by its name second."""

import io
import zipfile
from pathlib import PurePosixPath

from app.pipeline.extract.result import ExtractionError
from app.pipeline.extract.texts import guess_wide_encoding

PDF = "application/pdf"
HTML = "text/html"
XML = "application/xml"
MARKDOWN = "text/markdown"
PLAIN = "text/plain"
SVG = "image/svg+xml"
RTF = "application/rtf"
NOTEBOOK = "application/x-ipynb+json"
OOXML = "application/vnd.openxmlformats-officedocument."
ODF = "application/vnd.oasis.opendocument."
ODP = ODF + "presentation"
ARCHIVED_OFFICE = ("application/vnd.", "application/epub", "application/msword", "message/", RTF, SVG)
"""How the types begin that the office library reads."""
MOST_UNPACKED_BYTES = 512 * 1024 * 1024
MOST_RATIO = 200
SNIFF_BYTES = 4096

OFFICE_MEMBERS = {
    "word/": OOXML + "wordprocessingml.document",
    "ppt/": OOXML + "presentationml.presentation",
    "xl/": OOXML + "spreadsheetml.sheet",
}
ARCHIVED_KINDS = {
    "application/epub": "application/epub+zip",
    ODF + "text": ODF + "text",
    ODF + "spreadsheet": ODF + "spreadsheet",
    ODP: ODP,
}
"""By how ``mimetype`` begins: templates are read like what they become."""
OFFICE_SUFFIXES = frozenset({".docx", ".pptx", ".xlsx", ".epub", ".odt", ".ods", ".odp"})
OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
OLE_STREAMS = {
    "WordDocument": "application/msword",
    "PowerPoint Document": "application/vnd.ms-powerpoint",
    "Workbook": "application/vnd.ms-excel",
    "Book": "application/vnd.ms-excel",
    "__properties_version1.0": "application/vnd.ms-outlook",
}
TEXT_TYPES = {
    ".md": MARKDOWN, ".markdown": MARKDOWN, ".mdx": MARKDOWN, ".rst": "text/x-rst", ".csv": "text/csv",
    ".tsv": "text/tab-separated-values", ".json": "application/json", ".jsonl": "application/jsonl",
    ".ndjson": "application/jsonl", ".yaml": "application/yaml", ".yml": "application/yaml",
    ".toml": "application/toml", ".xml": XML, ".svg": SVG, ".ipynb": NOTEBOOK, ".rtf": RTF, ".eml": "message/rfc822",
    ".htm": HTML, ".html": HTML, ".xhtml": HTML, ".tex": "text/x-tex", ".css": "text/css", ".sql": "application/sql",
    ".py": "text/x-python", ".pyi": "text/x-python", ".js": "text/javascript", ".mjs": "text/javascript",
    ".jsx": "text/javascript", ".ts": "text/x-typescript", ".tsx": "text/x-typescript", ".java": "text/x-java",
    ".kt": "text/x-kotlin", ".c": "text/x-c", ".h": "text/x-c", ".cc": "text/x-c++", ".cpp": "text/x-c++",
    ".hpp": "text/x-c++", ".cs": "text/x-csharp", ".go": "text/x-go", ".rs": "text/x-rust", ".rb": "text/x-ruby",
    ".php": "text/x-php", ".swift": "text/x-swift", ".scala": "text/x-scala", ".lua": "text/x-lua", ".r": "text/x-r",
    ".pl": "text/x-perl", ".sh": "application/x-sh", ".bash": "application/x-sh", ".ps1": "text/x-powershell",
}  # fmt: skip
IMAGE_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"II*\x00": "image/tiff",
    b"MM\x00*": "image/tiff",
}  # fmt: skip
IMAGES = frozenset(IMAGE_MAGIC.values())
FOREIGN_MAGIC = (
    b"\x89PNG", b"GIF8", b"\x7fELF", b"MZ\x90", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!",
    b"RIFF", b"OggS", b"ID3", b"\x00\x00\x01\x00", b"SQLite format 3", b"\xca\xfe\xba\xbe", b"PAR1", b"wOFF",
    b"\x28\xb5\x2f\xfd",
)  # fmt: skip


def detect_type(content: bytes, path: str) -> str:
    """The mime type.

    Raises:
        ExtractionError: ``unsupported_format`` for content that holds no text, or the reason it cannot be read.
    """
    suffix = PurePosixPath(path.partition("#")[0]).suffix.lower()
    head = content[:SNIFF_BYTES]
    if b"%PDF-" in head[:1024]:
        return PDF
    if head.startswith(OLE_MAGIC):
        return _detect_ole(content)
    if head.startswith(b"PK\x03\x04") or suffix in OFFICE_SUFFIXES:
        return _detect_zip(content)
    if suffix == ".pdf":
        raise ExtractionError("corrupt_document", "named .pdf, but it has no PDF header")
    for magic, image in IMAGE_MAGIC.items():
        if head.startswith(magic):
            return image
    if head.startswith(FOREIGN_MAGIC) or _is_binary(head):
        return _refuse("its content is binary, not text")
    return _detect_text(head, suffix)


def _refuse(message: str) -> str:
    raise ExtractionError("unsupported_format", message)


def _detect_text(head: bytes, suffix: str) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if start.startswith(b"{\\rtf"):
        return RTF
    if start.startswith((b"<!doctype html", b"<html")):
        return HTML
    named = TEXT_TYPES.get(suffix, PLAIN)
    return PLAIN if named == RTF else named


def _is_binary(head: bytes) -> bool:
    """Zero bytes in places where UTF-16 and UTF-32 would not have them."""
    return b"\x00" in head and guess_wide_encoding(head) is None


def _detect_ole(content: bytes) -> str:
    """An old Office file by the names of its streams, which stand in its directory as UTF-16."""
    first = (int.from_bytes(content[48:52], "little") + 1) << min(int.from_bytes(content[30:32], "little"), 12)
    # the rest of a large directory may be anywhere
    for part in (content[first : first + SNIFF_BYTES], content):
        if "EncryptedPackage".encode("utf-16-le") in part:
            raise ExtractionError("encrypted_document", "the office file is protected by a password")
        for stream, mime_type in OLE_STREAMS.items():
            if stream.encode("utf-16-le") in part:
                return mime_type
    return _refuse("a compound file that is neither of Word, Excel, PowerPoint nor Outlook; save it in another format")


def _detect_zip(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            kind = _read_kind(archive)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        raise ExtractionError("corrupt_document", "the office file's archive cannot be read") from error
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MOST_UNPACKED_BYTES or unpacked > MOST_RATIO * max(len(content), 64 * 1024):
        raise ExtractionError("archive_bomb", f"the file would unpack to {unpacked} bytes")
    for family, mime_type in ARCHIVED_KINDS.items():
        if kind.startswith(family):
            return mime_type
    for entry in entries:
        for member, mime_type in OFFICE_MEMBERS.items():
            if entry.filename.startswith(member):
                return mime_type
    return _refuse("an archive, not a document")


def _read_kind(archive: zipfile.ZipFile) -> str:
    """What Open Document files and books say they are, in their first few bytes."""
    if "mimetype" not in archive.namelist():
        return ""
    with archive.open("mimetype") as member:
        return member.read(200).decode("ascii", "replace")
