"""Sources, documents and chunks: what a collection is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.domain.errors import InvalidChunkingError
from app.domain.syncs import OnGone


class SourceKind(StrEnum):
    """Which adapter reads a source."""

    DIRECTORY = "directory"
    FILESYSTEM = "filesystem"
    GIT = "git"
    IMAP = "imap"
    UPLOAD = "upload"
    WEB = "web"


class DocumentState(StrEnum):
    """Where a document stands; see ``docs/glossary.md``."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    NEEDS_OCR = "needs_ocr"
    REMOVED = "removed"


HEADINGS_JOIN = " > "
HEADINGS_END = "\n\n"


class ChunkingStrategy(StrEnum):
    """Where a text may be cut; see the page on chunking in ``docs/``."""

    RECURSIVE = "recursive"
    MARKDOWN = "markdown"
    CHARACTER = "character"
    CODE = "code"
    SEMANTIC = "semantic"
    HIERARCHICAL = "hierarchical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """How texts are cut. ``size`` and ``overlap`` are tokens (characters for ``character``)."""

    strategy: ChunkingStrategy = ChunkingStrategy.RECURSIVE
    size: int = 400
    overlap: int = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkingChoice:
    """What a caller said about chunking; None where nothing was said."""

    strategy: ChunkingStrategy | None = None
    size: int | None = None
    overlap: int | None = None

    def fill(self, defaults: Chunking) -> Chunking:
        """The rest from ``defaults``; a size without an overlap gets a tenth of it.

        Raises:
            InvalidChunkingError: if the overlap is not smaller than the size.
        """
        size = defaults.size if self.size is None else self.size
        usual = defaults.overlap if self.size is None else size // 10
        overlap = usual if self.overlap is None else self.overlap
        if overlap >= size:
            raise InvalidChunkingError("chunk_overlap must be smaller than chunk_size")
        return Chunking(strategy=self.strategy or defaults.strategy, size=size, overlap=overlap)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where documents come from. ``config`` holds include/exclude globs and options, ``secrets`` is encrypted."""

    id: UUID
    collection_id: UUID
    kind: SourceKind
    url: str
    config: dict[str, Any] = field(default_factory=dict)
    last_run_at: datetime | None = None
    last_result: dict[str, Any] | None = None
    secrets: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Locator:
    """Where the bytes of one document lie on this machine; ``path`` is the URI of one that has to be fetched.

    A record is ``length`` bytes at ``offset`` of a ``.jsonl`` file; a file has ``offset`` None. A member of an archive
    has the names that lead to it through ``members``, and in a ``.tar`` the place of its bytes once it is unpacked.
    """

    path: str
    offset: int | None = None
    length: int | None = None
    members: tuple[str, ...] = ()


NEVER_SEEN_NS = -1
"""A modification time no file has: a document with it is read again when a scan sees it, whatever it is like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVersion:
    """Which version of a file it is, as far as its file system says; bytes, and nanoseconds since the epoch."""

    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedDocument:
    """One document as a scan of its source sees it, before anything is read.

    Attributes:
        uri: identity within the collection, an absolute URI (``file:///a/b.md``, ``file:///a/c.jsonl#17``,
            ``file:///a/d.zip!/e.md``).
        path: path below the source's root with ``/`` between folders, for people and for path filters.
        size: bytes.
        modified_ns: modification time in nanoseconds since the epoch.
        content_hash: sha256 of the content where the scan has read it (records), else None.
        etag: what its source names this version of it by, where that has such names; while it stays the same so does
            the content, whatever size and time are. ``size`` is 0 where the source does not say it.
        links: what a page leads to, or a message holds, where the next scan has to know it though it has not changed.
        error_code: set when the document cannot be read at all (``document_too_large``, ``unreadable_file``,
            ``symlink_outside_source``, ``invalid_record``…); such a document is recorded as failed and not read.
    """

    uri: str
    path: str
    locator: Locator
    size: int
    modified_ns: int
    content_hash: bytes | None = None
    error_code: str | None = None
    error_message: str | None = None
    etag: str | None = None
    links: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDocument:
    """What the last scan of a source has found out about a document."""

    size: int
    modified_ns: int
    etag: str | None = None
    links: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The bytes of a document in a file of this machine, or the error of that one document.

    ``suffix`` says what it is where its own name does not, as ``.html`` of a page named ``about?lang=en``.
    """

    path: str | None = None
    suffix: str = ""
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One item of a source, as the manifest knows it."""

    id: UUID
    collection_id: UUID
    source_id: UUID
    uri: str
    path: str
    locator: Locator
    size: int
    modified_ns: int
    state: DocumentState
    content_hash: bytes | None = None
    mime_type: str | None = None
    title: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    attempts: int = 0
    chunk_count: int = 0
    last_seen_at: datetime | None = None
    updated_at: datetime | None = None
    etag: str | None = None
    gone_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChunk:
    """A span of a document's text: ``text == document_text[start:end]``, offsets in characters.

    Attributes:
        tokens: of what is embedded.
        headings: the headings over it, outermost first.
        parent_start: where the larger span begins that is shown for it, if there is one.
        parent_end: where that ends.
        gap: the white space between what chunks before it cover and it; with it a text can be put together again.
    """

    text: str
    start: int
    end: int
    tokens: int
    headings: tuple[str, ...] = ()
    parent_start: int | None = None
    parent_end: int | None = None
    gap: str | None = None

    @property
    def embedded(self) -> str:
        """What its vector and its words are made of."""
        return embedded_text(self.text, self.headings)


def embedded_text(text: str, headings: Sequence[str]) -> str:
    """A chunk's text under its headings; ``EMBEDDED_TEXT`` in ``app/db/verification.py`` says the same in SQL."""
    return f"{HEADINGS_JOIN.join(headings)}{HEADINGS_END}{text}" if headings else text


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedDocument:
    """What reading, extracting and chunking one document gave.

    Exactly one of these holds: ``unchanged`` (the content hash equals the known one, nothing was extracted),
    ``error_code`` is set, or ``chunks`` is the (possibly empty) result.

    Attributes:
        read_version: what was read, where it is not what the scan saw.
    """

    document_id: UUID
    content_hash: bytes | None = None
    mime_type: str | None = None
    title: str | None = None
    chunks: tuple[TextChunk, ...] = ()
    unchanged: bool = False
    error_code: str | None = None
    error_message: str | None = None
    read_version: FileVersion | None = None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ocr:
    """How pictures of text are read: the path of Tesseract, and its languages as in ``eng+deu``."""

    program: str
    languages: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRequest:
    """Asks a child process to read, extract and chunk one document.

    ``tokenizer`` is a file, None the packaged one; pictures of text are read only with ``ocr``. ``seen_version`` is
    what the scan saw, where the next one goes by that.
    """

    document_id: UUID
    uri: str
    path: str
    locator: Locator
    known_hash: bytes | None
    max_bytes: int
    seen_version: FileVersion | None = None
    ocr: Ocr | None = None
    tokenizer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """A source as a caller describes it: where, and which of its documents (globs over the path).

    Attributes:
        options: what its kind takes; see ``docs/sources.md``.
        secrets: how its server is told who we are; never shown again.
    """

    url: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    on_gone: OnGone | None = None

    def config(self) -> dict[str, Any]:
        """What is stored in ``Source.config``."""
        config: dict[str, Any] = {"include": list(self.include), "exclude": list(self.exclude)}
        if self.on_gone is not None:
            config["on_gone"] = self.on_gone.value
        return {**config, "options": dict(self.options)} if self.options else config


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChange:
    """What is to be another way at a source; None where nothing is said. No secrets at all are ``{}``."""

    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    options: Mapping[str, Any] | None = None
    secrets: Mapping[str, str] | None = field(default=None, repr=False)
    on_gone: OnGone | None = None

    def config(self) -> dict[str, Any]:
        """What changes in ``Source.config``."""
        said = {"include": self.include, "exclude": self.exclude}
        config: dict[str, Any] = {name: list(globs) for name, globs in said.items() if globs is not None}
        if self.on_gone is not None:
            config["on_gone"] = self.on_gone.value
        return config if self.options is None else {**config, "options": dict(self.options)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTest:
    """What a look at a source has found; some names and errors stand for all.

    ``is_complete`` is False if time or patience ran out before the scan ended; the figures are of what was seen then.
    """

    kind: SourceKind
    url: str
    is_complete: bool
    documents: int = 0
    bytes: int = 0
    names: list[str] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    failed_by_code: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
