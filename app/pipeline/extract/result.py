"""What extraction gives: a text, or the reason there is none."""

from dataclasses import dataclass

from app.domain.errors import PermanentError


class ExtractionError(PermanentError):
    """A document gives no text; ``code`` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # one class for the many ways a document can be bad


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """Text of a document, its real type and its title, if it has one.

    ``pages_without_text`` are pages of a PDF that hold pictures and no text, and that nobody has run OCR over.
    """

    text: str
    mime_type: str
    title: str | None = None
    pages_without_text: int = 0


def clean(text: str) -> str:
    """Text that Postgres and JSON can hold: no NULs, no lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
