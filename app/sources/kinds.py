"""Which adapter reads a source, by its URL alone."""

from app.domain.documents import SourceKind
from app.domain.errors import UnsupportedSourceError

KINDS_BY_SCHEME: dict[str, SourceKind] = {"file": SourceKind.DIRECTORY}
"""In small letters, without ``://``."""


def kind_of(url: str) -> SourceKind:
    """The kind of a URL or path; what has no ``://`` is a path, whatever characters it has.

    Raises:
        UnsupportedSourceError: if no adapter reads URLs of its scheme.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        return SourceKind.DIRECTORY
    kind = KINDS_BY_SCHEME.get(scheme.lower())
    if kind is None:
        known = ", ".join(f"{name}://" for name in sorted(KINDS_BY_SCHEME))
        raise UnsupportedSourceError(f"sources of kind {scheme!r} are not supported; give a folder, or one of {known}")
    return kind
