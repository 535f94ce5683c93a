"""Git repositories: one commit is listed without its files, and those that changed are fetched by their blob ids."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes
from uuid import UUID

from app.domain.documents import Document, Fetched, Locator, ScannedDocument
from app.domain.errors import (
    DomainError,
    SourceNotFoundError,
    SourceTooLargeError,
    SourceUnavailableError,
    SourceVanishedError,
)
from app.sources.archives import archive_kind
from app.sources.directory import printable
from app.sources.fetching import fetch_each
from app.sources.git_listing import Entry, Listing, TooManyFilesError
from app.sources.git_repository import GitAccess, GitRepository
from app.sources.git_urls import GitOptions, GitUrl, check_git
from app.sources.globs import PathFilter
from app.sources.opened import opened
from app.sources.walk import binary_suffixes

BATCH = 1000
PART_BYTES = 256 * 1024
BLOB = re.compile(r"blob ([0-9a-f]{64}|[0-9a-f]{40})")


class GitSource:
    """``DocumentSource`` over one commit of a git repository: the newest of a branch, or that of a tag.

    The rules are those for folders of this machine, but for archives, which are documents with an error. Links and
    submodules are left out (``links``, ``submodules``). A document's ``etag`` is the id of its blob, so whoever has
    that can fetch it without a scan.

    Args:
        url: of the repository; see ``GitUrl``.
        include: globs over the path below the root; see ``PathFilter``.
        exclude: the same, and stronger.
        options: see ``GitOptions``.
        access: how it is reached.
        max_bytes: larger documents have the error ``document_too_large``.
        reads_pictures: whether pictures are documents too.

    Raises:
        UnsupportedSourceError, InvalidSourceError: if it is none that can be read.
        InvalidInputError: if a glob cannot be used.
    """

    is_local = False
    can_fetch_while_scanning = False

    def __init__(
        self,
        url: str,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        access: GitAccess,
        max_bytes: int,
        reads_pictures: bool = False,
    ) -> None:
        check_git(url, options or {}, access.secrets)
        self._url = url
        self._options = GitOptions.of(options or {})
        self._choice = PathFilter(include, exclude)
        self._binary = binary_suffixes(reads_pictures=reads_pictures)
        self._max_bytes = max_bytes
        self._max_repository_bytes = access.max_bytes
        self._skipped: Counter[str] = Counter()
        self._repository = GitRepository(GitUrl.of(url), access)

    @property
    def url(self) -> str:
        """Where it is."""
        return self._url

    @property
    def skipped(self) -> Mapping[str, int]:
        """Files left out by the last scan, by reason."""
        return self._skipped

    @property
    def unseen(self) -> Sequence[str]:
        """Nothing: a commit is seen whole, or not at all."""
        return ()

    async def aclose(self) -> None:
        """See the port; what was fetched is kept for the next time."""
        await self._repository.aclose()

    # --- scan -----------------------------------------------------------------------------------

    async def scan(self) -> AsyncGenerator[list[ScannedDocument], None]:
        """See the port."""
        self._skipped = Counter()
        commit = await self._repository.update(self._options.branch)
        tree = f"{commit}:{self._options.folder}"
        if self._options.folder and await self._repository.find_object(commit, self._options.folder) is None:
            raise SourceNotFoundError(f"{self._url}, {self._options.folder}")
        async with self._repository.listing(tree) as listing:
            entries = Listing(self._choice, self._skipped, binary=self._binary).choose(listing)
            while batch := await self._describe_some(entries):
                yield batch

    async def _describe_some(self, entries: Iterator[Entry]) -> list[ScannedDocument]:
        try:
            return await asyncio.to_thread(lambda: [self._describe(entry) for entry in islice(entries, BATCH)])
        except TooManyFilesError as error:
            raise SourceTooLargeError(self._url, self._max_repository_bytes) from error

    def _describe(self, entry: Entry) -> ScannedDocument:
        whole = f"{self._options.folder}/{entry.path}" if self._options.folder else entry.path
        uri = f"{self._url.rstrip('/')}/{quote(whole.encode('utf-8', 'surrogateescape'), safe='/')}"
        is_archive = archive_kind(entry.path) is not None
        return ScannedDocument(
            uri=uri,
            path=printable(entry.path),
            locator=Locator(path=uri),
            size=0,
            modified_ns=0,
            etag=f"blob {entry.blob}",
            error_code="archive_not_supported" if is_archive else None,
            error_message="archives in a repository are not read" if is_archive else None,
        )

    async def require_present(self) -> None:
        """See the port; another commit is the same repository."""
        try:
            await self._repository.find_ref(self._options.branch)
        except DomainError as error:
            raise SourceVanishedError(self._url) from error

    # --- fetch ----------------------------------------------------------------------------------

    async def fetch(self, documents: Sequence[Document], into: Path) -> Mapping[UUID, Fetched]:
        """See the port."""
        blobs = {document.id: _blob_of(document) for document in documents}
        wanted = list(dict.fromkeys(blob for blob in blobs.values() if blob is not None))
        sizes = await self._repository.bring(wanted, self._options.branch) if wanted else {}
        async with self._repository.reading() as process:

            async def fetch_one(document: Document, file: Path) -> Fetched:
                blob = blobs[document.id]
                if blob is None or blob not in sizes:
                    return await self._explain_loss(document, blob)
                if sizes[blob] > self._max_bytes:
                    message = f"{sizes[blob]} bytes, at most {self._max_bytes} are read"
                    return Fetched(error_code="document_too_large", error_message=message)
                await self._copy(process, blob, file)
                return Fetched(path=str(file))

            return await fetch_each(documents, into, fetch_one, at_once=1)

    async def _copy(self, process: asyncio.subprocess.Process, blob: str, file: Path) -> None:
        """One file from ``git cat-file --batch``."""
        if process.stdin is None or process.stdout is None:
            raise AssertionError("the process was begun without pipes")
        try:
            process.stdin.write(f"{blob}\n".encode())
            await process.stdin.drain()
            left = int((await process.stdout.readline()).split()[2])
            async with opened(file, "wb") as local:
                while left:
                    part = await process.stdout.readexactly(min(left, PART_BYTES))
                    await asyncio.to_thread(local.write, part)
                    left -= len(part)
            await process.stdout.readexactly(1)
        except (OSError, ValueError, IndexError, EOFError) as error:
            raise SourceUnavailableError(self._url) from error

    async def _explain_loss(self, document: Document, blob: str | None) -> Fetched:
        """Why the server does not have a file: it is of a commit that is gone, or should be there."""
        commit = await self._repository.update(self._options.branch)
        # the URI has the whole path, percent-encoded
        path = unquote_to_bytes(document.uri[len(self._url.rstrip("/")) + 1 :]).decode("utf-8", "surrogateescape")
        if blob is not None and await self._repository.find_object(commit, path) == blob:
            return Fetched(error_code="unreadable_file", error_message="the server has lost the file")
        return Fetched(error_code="file_vanished", error_message="the file is not there any more")


def _blob_of(document: Document) -> str | None:
    found = BLOB.fullmatch(document.etag or "")
    return None if found is None else found[1]
