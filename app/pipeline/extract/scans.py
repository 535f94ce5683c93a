"""Pictures of text, read by Tesseract where it is installed."""

import subprocess

from app.domain.documents import Ocr
from app.pipeline.extract.result import Extracted, ExtractionError

PAGE_SECONDS = 60.0


def extract_image(content: bytes, mime_type: str, ocr: Ocr | None) -> Extracted:
    """The text in a picture.

    Raises:
        ExtractionError: ``needs_ocr`` without ``ocr``, ``ocr_failed`` if it cannot be read.
    """
    if ocr is None:
        raise ExtractionError("needs_ocr", "a picture; its text needs OCR")
    return Extracted(text=recognise(content, ocr), mime_type=mime_type)


def recognise(image: bytes, ocr: Ocr) -> str:
    """The text Tesseract sees in one picture; it dies with this process, whose group it is in.

    Raises:
        ExtractionError: ``ocr_failed``.
    """
    # its threads would only fight with the other children for the cores
    command = ["env", "OMP_THREAD_LIMIT=1", ocr.program, "-", "-", "-l", ocr.languages]
    try:
        done = subprocess.run(  # noqa: S603 — our own command line, no shell
            command, input=image, capture_output=True, timeout=PAGE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ExtractionError("ocr_failed", f"OCR of one picture took longer than {PAGE_SECONDS:.0f} s") from error
    except OSError as error:
        raise ExtractionError("ocr_failed", "the OCR program cannot be started") from error
    if done.returncode != 0:
        raise ExtractionError("ocr_failed", f"the OCR program ended with status {done.returncode}")
    return done.stdout.decode("utf-8", "replace").replace("\f", "").strip()
