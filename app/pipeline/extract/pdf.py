"""PDF: the text of its pages, read in windows so that memory does not grow with their number."""

from typing import Any

from app.domain.documents import Ocr
from app.pipeline.extract.result import Extracted, ExtractionError
from app.pipeline.extract.scans import recognise

WINDOW_PAGES = 100
"""The library keeps what it has parsed until a document is closed."""
SCAN_DPI = 200
POINTS_PER_INCH = 72
MOST_PIXELS = 40_000_000
MIME_TYPE = "application/pdf"


def extract_pdf(content: bytes, ocr: Ocr | None) -> Extracted:
    """Text of all pages; pages that are pictures are read with ``ocr``, or counted.

    Raises:
        ExtractionError: ``needs_ocr`` if no page has text, or the reason it cannot be read.
    """
    texts: list[str] = []
    pictures = 0
    document = _open(content)
    try:
        pages, title = len(document), document.get_metadata_value("Title") or None
        for number in range(pages):
            if number and number % WINDOW_PAGES == 0:
                document.close()
                document = _open(content)
            text, is_picture = _read_page(document, number, ocr)
            texts.append(text)
            pictures += is_picture
    finally:
        document.close()
    whole = "\n\n".join(text for text in texts if text)
    if not whole and ocr is None:
        raise ExtractionError("needs_ocr", f"{pages} pages without text: a scan that needs OCR")
    return Extracted(text=whole, mime_type=MIME_TYPE, title=title, pages_without_text=pictures)


def _open(content: bytes) -> Any:  # noqa: ANN401 — the library is imported where it is needed
    import pypdfium2  # noqa: PLC0415 — heavy, and not every child meets a PDF

    try:
        return pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise ExtractionError("encrypted_document", "the PDF is protected by a password") from error
        raise ExtractionError("corrupt_document", "the PDF is damaged or cut off") from error


def _read_page(document: Any, number: int, ocr: Ocr | None) -> tuple[str, bool]:  # noqa: ANN401 — see above
    """The text of a page, and whether it is a picture that nobody has read."""
    import pypdfium2  # noqa: PLC0415 — see above

    try:
        page = document[number]
    except pypdfium2.PdfiumError:
        # one damaged page is not worth a document
        return "", False
    try:
        text = _page_text(page)
        if text or not _has_picture(page):
            return text, False
        return ("", True) if ocr is None else (recognise(_render(page), ocr), False)
    finally:
        page.close()


def _page_text(page: Any) -> str:  # noqa: ANN401 — see above
    text_page = page.get_textpage()
    try:
        return str(text_page.get_text_bounded()).replace("\r\n", "\n").strip()
    finally:
        text_page.close()


def _has_picture(page: Any) -> bool:  # noqa: ANN401 — see above
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE  # noqa: PLC0415 — see above

    return next(iter(page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE])), None) is not None


def _render(page: Any) -> bytes:  # noqa: ANN401 — see above
    """The page as a grey PGM image."""
    width, height = page.get_size()
    scale = min(SCAN_DPI / POINTS_PER_INCH, (MOST_PIXELS / max(width * height, 1)) ** 0.5)
    bitmap = page.render(scale=scale, grayscale=True)
    try:
        pixels = bitmap.to_numpy()
        header = b"P5 %d %d 255\n" % (pixels.shape[1], pixels.shape[0])
        return header + bytes(pixels.tobytes())
    finally:
        bitmap.close()
