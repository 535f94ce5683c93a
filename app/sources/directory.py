"""A local folder or file."""

import asyncio
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote_to_bytes, urlsplit
from uuid import UUID

from app.domain.documents import Document, Fetched, Locator, ScannedDocument
from app.domain.errors import (
    ProcessDiedError,
    SourceNotAllowedError,
    SourceNotFoundError,
    SourceVanishedError,
    UnsupportedSourceError,
)
from app.domain.ports import Processes
from app.sources.archive_scan import scan_archive
from app.sources.archives import ArchiveLimits, Entry, archive_kind
from app.sources.globs import PathFilter
from app.sources.walk import CHILD_ENDED, Found, Walk, binary_suffixes, suffix_of, unreadable

BATCH = 1000
SCAN_SECONDS = 300.0
NOT_SEEN_INTO = frozenset({"archive_bomb", "corrupt_archive"})
"""Archives whose members of before need not be gone."""
Result = TypeVar("Result")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
UNSHOWABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
RECORD_SUFFIXES = frozenset({".jsonl", ".ndjson"})
ScannedRecord = tuple[str | None, int, int, bytes, str | None, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReader:
    """Module-level functions that read record files, called in child processes.

    Attributes:
        is_record_file: whether the file at a path holds one record a line.
        scan_records: records from a byte offset, at most so many, as ``(id, offset, length, sha256, error_code,
            error_message)``, and the offset to go on from, None at the end.
    """

    is_record_file: Callable[[str], bool]
    scan_records: Callable[[str, int, int], tuple[list[ScannedRecord], int | None]]


def resolve_source_path(url: str, roots: Sequence[Path] = ()) -> Path:
    """The absolute local path of a source, which need not exist.

    Raises:
        UnsupportedSourceError: if the URL is neither a ``file:`` URL of this machine nor a path.
        SourceNotAllowedError: if ``roots`` are given and the real path lies in none of them.
    """
    path = _local_path(url).absolute()
    real = Path(os.path.realpath(path))
    if ".." in path.parts:
        path = real
    if roots and not any(real.is_relative_to(root.resolve()) for root in roots):
        raise SourceNotAllowedError("this server may only read the folders its operator allows")
    return path


def _local_path(url: str) -> Path:
    if not url.strip() or "\0" in url:
        raise UnsupportedSourceError("a source needs the path of a folder or a file")
    if SCHEME.match(url) and not url.lower().startswith("file:"):
        if "://" not in url and os.path.exists(url):  # noqa: PTH110 — False, not an error, for a name that is too long
            return Path(url)
        raise UnsupportedSourceError(f"sources of kind {url.partition(':')[0]!r} are not supported; give a folder")
    if not url.lower().startswith("file:"):
        try:
            return Path(url).expanduser()
        except RuntimeError:
            raise UnsupportedSourceError("the path begins with ~ and the name of a user that is not known") from None
    return _path_of_url(url)


def _path_of_url(url: str) -> Path:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UnsupportedSourceError(f"that is no URL: {error}") from None
    if parts.netloc not in {"", "localhost"}:
        raise UnsupportedSourceError("a file: URL must name a path of this machine, as in file:///home/me/documents")
    path = unquote_to_bytes(parts.path)
    if parts.query or parts.fragment or not path or b"\0" in path:
        raise UnsupportedSourceError("a file: URL must be a path, with ? written as %3F and # as %23")
    return Path(os.fsdecode(path))


class DirectorySource:
    """``DocumentSource`` over a folder or a single file.

    Hidden files, dependency folders and formats that hold no text are left out and counted in ``skipped``
    (``hidden``, ``dependencies``, ``binary``, ``filtered``, ``special``, ``walked_before``), and so is what
    ``.gitignore`` files leave out (``gitignore``) where they are honoured; a folder counts as one.
    Links are followed inside the root only, and no folder is walked twice.
    Each record of a record file is a document of its own, however large the file. Archives are scanned like folders.

    Args:
        url_or_path: a ``file:`` URL or a path.
        include: globs over the path below the root; see ``PathFilter``.
        exclude: the same, and stronger.
        gitignore: whether ``.gitignore`` files from the root downwards are honoured.
        archives: how much an archive may hold.
        reads_pictures: whether pictures are documents too, since their text can be read.
        max_bytes: larger documents come with the error ``document_too_large``.

    Raises:
        UnsupportedSourceError: if it is a URL of another kind.
        InvalidInputError: if a glob cannot be used.
    """

    def __init__(
        self,
        url_or_path: str | Path,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        gitignore: bool = False,
        max_bytes: int,
        processes: Processes,
        records: RecordReader,
        archives: ArchiveLimits | None = None,
        reads_pictures: bool = False,
    ) -> None:
        self._root = resolve_source_path(str(url_or_path))
        self._choice = PathFilter(include, exclude)
        self._globs = (tuple(include), tuple(exclude))
        self._gitignore = gitignore
        self._archives = archives or ArchiveLimits()
        self._binary = binary_suffixes(reads_pictures=reads_pictures)
        self._max_bytes = max_bytes
        self._processes = processes
        self._records = records
        self._skipped: Counter[str] = Counter()
        self._unseen: list[str] = []
        self._seen_root: tuple[int, int] | None = None

    @property
    def url(self) -> str:
        """The root as a ``file:`` URL."""
        return self._root.as_uri()

    @property
    def is_local(self) -> bool:
        """See the port."""
        return True

    @property
    def can_fetch_while_scanning(self) -> bool:
        """See the port."""
        return True

    @property
    def skipped(self) -> Mapping[str, int]:
        """Files left out by the last scan, by reason."""
        return self._skipped

    @property
    def unseen(self) -> Sequence[str]:
        """After a scan: beginnings of URIs under which it could not look, so documents there need not be gone."""
        return [f"{self._uri_of(name[:-1])}{name[-1]}" for name in self._unseen]

    async def scan(self) -> AsyncGenerator[list[ScannedDocument], None]:
        """See the port."""
        self._skipped, self._unseen = Counter(), []
        self._seen_root = await asyncio.to_thread(self._identify_root)
        if self._seen_root is None:
            raise SourceNotFoundError(self.url)
        walk = self._walk()
        batch: list[ScannedDocument] = []
        while files := await asyncio.to_thread(lambda: list(islice(walk, BATCH))):
            for file in files:
                async for documents in self._open(file):
                    batch += documents
                    if len(batch) >= BATCH:
                        yield batch[:BATCH]
                        batch = batch[BATCH:]
        await self.require_present()
        if batch:
            yield batch

    async def require_present(self) -> None:
        """See the port; another folder at the same place, as an empty mount point, is not the one that was seen."""
        root = await asyncio.to_thread(self._identify_root)
        if self._seen_root is None:
            if root is None:
                raise SourceNotFoundError(self.url)
            self._seen_root = root
        if root != self._seen_root:
            raise SourceVanishedError(self.url)

    async def fetch(self, documents: Sequence[Document], into: Path) -> Mapping[UUID, Fetched]:  # noqa: ARG002 — they are here
        """See the port; children read the files where they are."""
        return {document.id: Fetched(path=document.locator.path) for document in documents}

    async def aclose(self) -> None:
        """See the port; nothing is open."""

    def _identify_root(self) -> tuple[int, int] | None:
        """Which folder or file the root is now; None if it cannot be read."""
        try:
            status = self._root.stat()
        except OSError:
            return None
        if stat.S_ISDIR(status.st_mode):
            readable = os.access(self._root, os.R_OK | os.X_OK)
        else:
            readable = stat.S_ISREG(status.st_mode) and os.access(self._root, os.R_OK)
        return (status.st_dev, status.st_ino) if readable else None

    def _walk(self) -> Iterator[Found]:
        try:
            status = self._root.stat()
            if stat.S_ISDIR(status.st_mode):
                yield from Walk(
                    str(self._root),
                    self._choice,
                    self._skipped,
                    self._unseen,
                    binary=self._binary,
                    gitignore=self._gitignore,
                )
            else:
                yield Found(relative="", status=status)
        except OSError as error:
            raise SourceVanishedError(self.url) from error

    async def _open(self, file: Found) -> AsyncIterator[list[ScannedDocument]]:
        """The document of a file, or the documents of a record file in parts."""
        document = self._describe(file)
        if archive_kind(document.locator.path) is not None:
            async for members in self._open_archive(file, document):
                yield members
            return
        may_hold_records = suffix_of(document.locator.path) in RECORD_SUFFIXES
        if may_hold_records and file.error_code == "unreadable_file":
            self._unseen.append(f"{file.relative}#")
        if file.error_code is not None or not may_hold_records:
            yield [self._limited(document)]
            return
        try:
            if not await self._run(self._records.is_record_file, document.locator.path):
                yield [self._limited(document)]
                return
            async for records in self._stream_records(document):
                yield records
        except (OSError, MemoryError, *CHILD_ENDED) as error:
            self._unseen.append(f"{file.relative}#")
            yield [self._describe(unreadable(file.relative, error))]

    async def _open_archive(self, file: Found, archive: ScannedDocument) -> AsyncIterator[list[ScannedDocument]]:
        """The documents of the members of an archive, or one that says why there are none."""
        if file.error_code is None:
            try:
                found, skipped = await self._run(
                    scan_archive, archive.locator.path, file.relative, self._globs, self._archives, self._binary
                )
            except (OSError, MemoryError, *CHILD_ENDED) as error:
                file = unreadable(file.relative, error)
            else:
                self._skipped.update(skipped)
                for start in range(0, len(found), BATCH):
                    yield [self._describe_member(file, archive, *member) for member in found[start : start + BATCH]]
                return
        self._unseen.append(f"{file.relative}!")
        yield [self._describe(file)]

    def _describe_member(
        self, file: Found, archive: ScannedDocument, names: tuple[str, ...], entry: Entry
    ) -> ScannedDocument:
        """One member, or the archive itself if ``names`` is empty."""
        if entry.error_code in NOT_SEEN_INTO:
            self._unseen.append(f"{file.relative}!")
        if not names:
            return replace(archive, error_code=entry.error_code, error_message=entry.error_message)
        place = archive.locator.path
        document = ScannedDocument(
            uri="!/".join([archive.uri, *(quote(os.fsencode(name), safe="/") for name in names)]),
            path=printable("/".join([file.relative, *names]).lstrip("/")),
            locator=Locator(
                path=place,
                offset=entry.offset,
                length=None if entry.offset is None else entry.size,
                members=names,
            ),
            size=entry.size,
            modified_ns=entry.modified_ns,
            error_code=entry.error_code,
            error_message=entry.error_message,
        )
        return self._limited(document)

    async def _stream_records(self, document: ScannedDocument) -> AsyncIterator[list[ScannedDocument]]:
        describe = _RecordNames(document)
        offset: int | None = 0
        while offset is not None:
            records, offset = await self._run(self._records.scan_records, document.locator.path, offset, BATCH)
            yield [describe(record) for record in records]

    async def _run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Call in a child process, once more if that is killed."""
        try:
            return await self._processes.run(function, *arguments, timeout_seconds=SCAN_SECONDS)
        except (ProcessDiedError, MemoryError):
            return await self._processes.run(function, *arguments, timeout_seconds=SCAN_SECONDS)

    def _describe(self, file: Found) -> ScannedDocument:
        status = file.status
        return ScannedDocument(
            uri=self._uri_of(file.relative),
            path=printable(file.relative or self._root.name),
            locator=Locator(path=self._path_of(file.relative)),
            size=0 if status is None else status.st_size,
            modified_ns=0 if status is None else status.st_mtime_ns,
            error_code=file.error_code,
            error_message=file.error_message,
        )

    def _limited(self, document: ScannedDocument) -> ScannedDocument:
        if document.error_code is not None or document.size <= self._max_bytes:
            return document
        message = f"{document.size} bytes, at most {self._max_bytes} are read"
        return replace(document, error_code="document_too_large", error_message=message)

    def _path_of(self, relative: str) -> str:
        return f"{str(self._root).rstrip('/')}/{relative}" if relative else str(self._root)

    def _uri_of(self, relative: str) -> str:
        return Path(self._path_of(relative)).as_uri()


class _RecordNames:
    """Gives each record of a file a URI and a path of its own.

    A record is named by its id. One without is named by its place, ``@17``; a second one with the same id by
    ``id&duplicate=2``. No id can be mistaken for these, for ``@`` and ``&`` of an id are percent-encoded.
    """

    def __init__(self, file: ScannedDocument) -> None:
        self._file = file
        self._place = 0
        self._seen: set[bytes] = set()
        self._repeats: Counter[str] = Counter()

    def __call__(self, record: ScannedRecord) -> ScannedDocument:
        name, offset, length, digest, code, message = record
        self._place += 1
        fragment, shown = (quote(name, safe=""), name) if name else (f"@{self._place}", f"@{self._place}")
        if name and self._is_repeated(name):
            self._repeats[name] += 1
            times = self._repeats[name] + 1
            fragment, shown = f"{fragment}&duplicate={times}", f"{name}~{times}"
            code, message = "duplicate_record", "the file has an earlier record with this id"
        return ScannedDocument(
            uri=f"{self._file.uri}#{fragment}",
            path=f"{self._file.path}#{printable(shown)}",
            locator=Locator(path=self._file.locator.path, offset=offset, length=length),
            size=length,
            modified_ns=self._file.modified_ns,
            content_hash=digest or None,
            error_code=code,
            error_message=message,
        )

    def _is_repeated(self, name: str) -> bool:
        """Remembers 16 bytes an id, for ids may be long and many."""
        key = blake2b(name.encode(), digest_size=16).digest()
        if key in self._seen:
            return True
        self._seen.add(key)
        return False


def printable(path: str) -> str:
    r"""A path for people that Postgres can hold: a line feed is ``\n``, a byte that is not UTF-8 ``\udcff``."""
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in UNSHOWABLE else char for char in path
    )
