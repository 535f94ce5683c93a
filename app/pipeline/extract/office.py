"""Office files, web pages, books and mail."""

import io
import zipfile

from app.pipeline.extract.result import Extracted, ExtractionError
from app.pipeline.extract.texts import decode, strip_tags

TEXTUAL = ("text/", "image/svg")
SLIDES = "content.xml"


def extract_office(content: bytes, mime_type: str) -> Extracted:
    """Text of what the office library reads.

    Raises:
        ExtractionError: ``corrupt_document`` if it cannot.
    """
    import kreuzberg  # noqa: PLC0415 — heavy, and not every child meets an office file

    if mime_type.startswith(TEXTUAL) and not _is_utf8(content):
        # pages say their encoding in a way the library does not follow
        content = decode(content).encode("utf-8", "replace")
    try:
        result = kreuzberg.extract_bytes_sync(content, mime_type)
    except kreuzberg.KreuzbergError as error:
        raise ExtractionError(
            "corrupt_document", "the document cannot be read; it is damaged or not what it seems"
        ) from error
    metadata = dict(result.metadata)
    title = metadata.get("title") or metadata.get("subject")
    return Extracted(text=result.content, mime_type=mime_type, title=title if isinstance(title, str) else None)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\x00" not in content[:1024]


def extract_slides(content: bytes, mime_type: str) -> Extracted:
    """An Open Document presentation, which the office library does not read: slides and notes in order.

    Raises:
        ExtractionError: ``corrupt_document`` if it cannot be read.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            slides = archive.read(SLIDES)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, KeyError, RuntimeError) as error:
        raise ExtractionError("corrupt_document", "the presentation cannot be read; it is damaged") from error
    return Extracted(text=strip_tags(_paragraphs(slides)), mime_type=mime_type)


def _paragraphs(slides: bytes) -> str:
    """Words inside a paragraph may be in spans of their own, which break no line."""
    text = decode(slides)
    for tag in ("<text:span", "</text:span", "<text:a", "</text:a"):
        text = text.replace(tag, f"\x00{tag}")
    parts = text.split("\x00")
    joined = parts[0] + "".join(part.partition(">")[2] for part in parts[1:])
    return joined.replace("<text:tab/>", "\t").replace("<text:s/>", " ")
