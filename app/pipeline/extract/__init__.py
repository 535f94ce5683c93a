"""Content to text, whatever the format. Runs in child processes; heavy libraries are imported when first needed."""

from collections.abc import Callable

from app.domain.documents import Ocr
from app.pipeline.extract.kinds import ARCHIVED_OFFICE, HTML, IMAGES, MARKDOWN, NOTEBOOK, ODP, PDF, XML, detect_type
from app.pipeline.extract.notebook import extract_notebook
from app.pipeline.extract.office import extract_office, extract_slides
from app.pipeline.extract.pdf import extract_pdf
from app.pipeline.extract.result import Extracted, ExtractionError, clean
from app.pipeline.extract.scans import extract_image
from app.pipeline.extract.texts import decode, extract_text, extract_xml

__all__ = ["MARKDOWN", "Extracted", "ExtractionError", "clean", "decode", "detect_type", "extract"]

TITLE_CHARACTERS = 200
OWN = {NOTEBOOK: extract_notebook, ODP: extract_slides, XML: extract_xml}


def extract(content: bytes, path: str, ocr: Ocr | None = None) -> Extracted:
    """Text of a document; of pictures of text only with ``ocr``.

    Raises:
        ExtractionError: with the document's error code.
    """
    if not content.strip():
        raise ExtractionError("empty_document", "the file is empty")
    mime_type = detect_type(content, path)
    if mime_type == PDF:
        extracted = extract_pdf(content, ocr)
    elif mime_type in IMAGES:
        extracted = extract_image(content, mime_type, ocr)
    else:
        extracted = _extractor_of(mime_type)(content, mime_type)
    text = clean(extracted.text)
    if not text.strip():
        raise ExtractionError("empty_document", "the document holds no text")
    return Extracted(
        text=text,
        mime_type=mime_type,
        title=_clean_title(extracted.title),
        pages_without_text=extracted.pages_without_text,
    )


def _extractor_of(mime_type: str) -> Callable[[bytes, str], Extracted]:
    if mime_type in OWN:
        return OWN[mime_type]
    if mime_type == HTML or mime_type.startswith(ARCHIVED_OFFICE):
        return extract_office
    return extract_text


def _clean_title(title: str | None) -> str | None:
    return clean(" ".join(title.split()))[:TITLE_CHARACTERS] or None if title else None
