"""Folders of file systems elsewhere, whatever library reads them."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote
from uuid import UUID, uuid4

from app.domain.documents import Document, Fetched, Locator, ScannedDocument
from app.domain.errors import (
    AddressNotAllowedError,
    DomainError,
    SourceNotFoundError,
    SourceRefusesAccessError,
    SourceUnavailableError,
    SourceVanishedError,
)
from app.sources.archives import archive_kind
from app.sources.directory import printable
from app.sources.fetching import fetch_each
from app.sources.gitignore import MOST_BYTES, NAME, OPTION, GitignoreError, Gitignores, is_honoured
from app.sources.globs import PathFilter
from app.sources.protocols import CHAIN, Guard, Opened, open_filesystem, split_chain
from app.sources.walk import JUNK_FOLDERS, binary_suffixes, suffix_of

BATCH = 1000
CALL_SECONDS = 300.0
THREADS = 4
PART_BYTES = 256 * 1024
NAMES_VERSION = (
    "ETag", "etag", "e_tag", "md5", "content_md5", "md5Hash", "Content-MD5", "Digest", "sha", "checksum", "crc32c",
    "CRC", "versionId", "generation", "mtime", "modified", "LastModified", "Last-Modified", "last_modified", "updated",
    "created", "date_time",
)  # fmt: skip
"""What libraries call what changes when a file does."""
Result = TypeVar("Result")


class FilesystemSource:
    """``DocumentSource`` over any file system that ``fsspec`` can read, as ``s3://bucket/folder``.

    The rules are those for folders of this machine, but for archives, which are documents with an error: an archive is
    read as a source of its own, ``zip://::URL``. Every call of the library is made in a thread of the source's own.

    Args:
        url: of a folder or a file.
        include: globs over the path below the root; see ``PathFilter``.
        exclude: the same, and stronger.
        options: for the library, and whether ``.gitignore`` files are honoured.
        secrets: for the library.
        max_bytes: larger documents come with the error ``document_too_large``.
        roots: the folders of this machine that archives may lie in; everywhere without any.
        allow_private: whether addresses that are not public may be asked.
        reads_pictures: whether pictures are documents too.

    Raises:
        UnsupportedSourceError: if the URL is none that can be read.
        InvalidInputError: if a glob cannot be used.
    """

    is_local = False
    can_fetch_while_scanning = True

    def __init__(
        self,
        url: str,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        max_bytes: int,
        roots: Sequence[Path] = (),
        allow_private: bool = False,
        reads_pictures: bool = False,
    ) -> None:
        first, *rest = split_chain(url)
        self._url = url
        self._base = first.rstrip("/") if not first.endswith("://") else first
        self._behind = "".join(f"{CHAIN}{part}" for part in rest)
        self._choice = PathFilter(include, exclude)
        # ours, not the library's
        self._options = {name: value for name, value in (options or {}).items() if name != OPTION}
        self._ignores = Gitignores(self._read_gitignore) if is_honoured(options or {}) else None
        self._secrets = dict(secrets or {})
        self._max_bytes = max_bytes
        self._roots = roots
        self._guard = Guard(allow_private=allow_private)
        self._binary = binary_suffixes(reads_pictures=reads_pictures)
        # archives are read from one place to the next by one reader
        self._at_once = 1 if rest else THREADS
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="source")
        self._opened: Opened | None = None
        self._has_gitignore = False
        self._opening = asyncio.Lock()
        self._skipped: Counter[str] = Counter()
        self._unseen: list[str] = []

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
        """Folders that could not be listed, as beginnings of URIs."""
        return self._unseen

    async def aclose(self) -> None:
        """Close connections; threads that are still busy end by themselves."""
        with suppress(Exception):
            async with asyncio.timeout(5):
                await self._call(self._close)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _close(self) -> None:
        opened, self._opened = self._opened, None
        if self._guard.sessions:
            from fsspec.asyn import get_loop, sync  # noqa: PLC0415 — most workers never need it

            for session in self._guard.sessions:
                sync(get_loop(), session.close)
        if opened is not None and hasattr(opened.filesystem, "close"):
            opened.filesystem.close()

    async def _call(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Call in a thread.

        Raises:
            TimeoutError: if it takes too long; the thread is lost until it ends.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CALL_SECONDS):
            return await loop.run_in_executor(self._threads, partial(function, *arguments))

    async def _open(self) -> Opened:
        async with self._opening:
            if self._opened is None:
                self._opened = await self._call(
                    partial(
                        open_filesystem,
                        self._url,
                        options=self._options,
                        secrets=self._secrets,
                        roots=self._roots,
                        guard=self._guard,
                    )
                )
        return self._opened

    def _explain(self, error: Exception) -> DomainError:
        """What an error of a library says of the whole source."""
        if isinstance(error, DomainError):
            return error
        if self._guard.refused is not None:
            return AddressNotAllowedError(self._guard.refused)
        if isinstance(error, FileNotFoundError):
            return SourceNotFoundError(self._url)
        if isinstance(error, PermissionError):
            return SourceRefusesAccessError(f"{self._url} refuses the login; give it with `vecloom sources change`")
        return SourceUnavailableError(f"{self._url} ({type(error).__name__})")

    # --- scan -----------------------------------------------------------------------------------

    async def scan(self) -> AsyncGenerator[list[ScannedDocument], None]:
        """See the port."""
        self._skipped, self._unseen = Counter(), []
        self._ignores = None if self._ignores is None else Gitignores(self._read_gitignore)
        root = await self._enter()
        if root["type"] != "directory":
            yield [self._describe("", root)]
            return
        folders = [""]
        batch: list[ScannedDocument] = []
        while folders:
            inner, documents = await self._look_into(folders.pop())
            folders += reversed(inner)
            batch += documents
            while len(batch) >= BATCH:
                yield batch[:BATCH]
                del batch[:BATCH]
        await self.require_present()
        if batch:
            yield batch

    async def _enter(self) -> dict[str, Any]:
        """What lies at the root; an object store has no folder that is empty."""
        try:
            opened = await self._open()
            root: dict[str, Any] = await self._call(opened.filesystem.info, opened.root)
        except Exception as error:
            raise self._explain(error) from error
        return root

    async def _look_into(self, folder: str) -> tuple[list[str], list[ScannedDocument]]:
        """The folders and the documents in a folder; one that cannot be listed is a document with an error."""
        opened = await self._open()
        try:
            return await self._call(self._list, opened, folder)
        except FileNotFoundError:
            if not folder:
                raise SourceVanishedError(self._url) from None
            return [], []
        except GitignoreError as error:
            self._unseen.append(self._uri_of(folder, open_ended=True) if folder else self._base)
            path = f"{folder}/{NAME}".lstrip("/")
            return [], [replace(self._unreadable(path, str(error)), error_code="unreadable_gitignore")]
        except Exception as error:
            if not folder or self._guard.refused is not None:
                raise self._explain(error) from error
            self._unseen.append(self._uri_of(folder, open_ended=True))
            return [], [self._unreadable(folder, "the folder cannot be listed")]

    def _list(self, opened: Opened, folder: str) -> tuple[list[str], list[ScannedDocument]]:
        """Runs in a thread, also what is made of it, for a folder may be large."""
        found = opened.filesystem.ls(opened.place_of(folder), detail=True)
        start = len(opened.root.strip("/"))
        named = [(str(entry["name"]).strip("/")[start:].strip("/"), entry) for entry in found]
        self._enter_folder(f"{folder}/" if folder else "", named)
        inner: list[str] = []
        documents: list[ScannedDocument] = []
        # an object store may list the folder itself
        for relative, entry in sorted(
            ((name, entry) for name, entry in named if name and name != folder), key=lambda pair: pair[0]
        ):
            is_folder = entry["type"] == "directory"
            if self._is_ignored(relative, is_folder=is_folder):
                self._skipped["gitignore"] += 1
            elif is_folder:
                self._put_off(relative, inner)
            elif self._wants(relative):
                documents.append(self._describe(relative, entry))
        return inner, documents

    def _enter_folder(self, folder: str, named: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Raises GitignoreError if nobody knows what is left out there."""
        if self._ignores is not None:
            # folders come before those inside them, so no other one is read; nor asked for where there is none
            self._has_gitignore = any(name == f"{folder}{NAME}" and entry["type"] == "file" for name, entry in named)
            self._ignores.enter(folder)

    def _is_ignored(self, relative: str, *, is_folder: bool) -> bool:
        """Hidden files are left out as such."""
        is_hidden = relative.rpartition("/")[2].startswith(".")
        return self._ignores is not None and not is_hidden and self._ignores.ignores(relative, is_folder=is_folder)

    def _read_gitignore(self, folder: str) -> bytes | None:
        if not self._has_gitignore or self._opened is None:
            return None
        try:
            with self._opened.filesystem.open(self._opened.place_of(f"{folder}{NAME}"), "rb") as file:
                content: bytes = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except Exception as error:  # each of the libraries has errors of its own
            raise GitignoreError(f"reading it failed with {type(error).__name__}") from error
        return content

    def _put_off(self, relative: str, inner: list[str]) -> None:
        name = relative.rpartition("/")[2]
        if name.startswith("."):
            self._skipped["hidden"] += 1
        elif name in JUNK_FOLDERS:
            self._skipped["dependencies"] += 1
        elif self._choice.excludes_folder(relative):
            self._skipped["filtered"] += 1
        else:
            inner.append(relative)

    def _wants(self, relative: str) -> bool:
        reason = None
        if relative.rpartition("/")[2].startswith("."):
            reason = "hidden"
        elif not self._choice.wants(relative):
            reason = "filtered"
        elif archive_kind(relative) is None and suffix_of(relative) in self._binary:
            reason = "binary"
        if reason is not None:
            self._skipped[reason] += 1
        return reason is None

    def _describe(self, relative: str, entry: Mapping[str, Any]) -> ScannedDocument:
        uri = self._uri_of(relative)
        size = int(entry.get("size") or 0)
        code = message = None
        if archive_kind(relative or self._base) is not None:
            code = "archive_not_supported"
            message = f"archives elsewhere are sources of their own: zip://{CHAIN}{uri}"
        elif size > self._max_bytes:
            code, message = "document_too_large", f"{size} bytes, at most {self._max_bytes} are read"
        return ScannedDocument(
            uri=uri,
            path=printable(relative or self._base.rpartition("/")[2]),
            locator=Locator(path=uri),
            size=size,
            modified_ns=0,
            etag=name_version(entry),
            error_code=code,
            error_message=message,
        )

    def _unreadable(self, relative: str, message: str) -> ScannedDocument:
        uri = self._uri_of(relative)
        return ScannedDocument(
            uri=uri,
            path=printable(relative),
            locator=Locator(path=uri),
            size=0,
            modified_ns=0,
            error_code="unreadable_file",
            error_message=message,
        )

    def _uri_of(self, relative: str, *, open_ended: bool = False) -> str:
        """Of a document; or, ``open_ended``, how the URIs of all documents in a folder begin."""
        if not relative:
            return f"{self._base}{self._behind}"
        joined = f"{self._base}{'' if self._base.endswith('://') else '/'}{quote(relative, safe='/')}"
        return f"{joined}/" if open_ended else f"{joined}{self._behind}"

    # --- fetch ----------------------------------------------------------------------------------

    async def fetch(self, documents: Sequence[Document], into: Path) -> Mapping[UUID, Fetched]:
        """See the port."""
        try:
            await self._open()
        except Exception as error:
            raise self._explain(error) from error
        return await fetch_each(documents, into, self._fetch_one, at_once=self._at_once)

    async def _fetch_one(self, document: Document, file: Path) -> Fetched:
        opened = await self._open()
        relative = unquote(document.uri.removesuffix(self._behind)[len(self._base) :]).lstrip("/")
        try:
            await self._call(_copy, opened.filesystem, opened.place_of(relative), file, self._max_bytes)
        except FileNotFoundError:
            return Fetched(error_code="file_vanished", error_message="the file is not there any more")
        except PermissionError:
            return Fetched(error_code="unreadable_file", error_message="permission denied")
        except Exception as error:
            if self._guard.refused is not None:
                raise self._explain(error) from error
            message = f"reading the file failed with {type(error).__name__}"
            return Fetched(error_code="fetch_failed", error_message=message)
        return Fetched(path=str(file))

    async def require_present(self) -> None:
        """See the port."""
        try:
            opened = await self._open()
            await self._call(opened.filesystem.invalidate_cache)
            await self._call(opened.filesystem.info, opened.root)
        except Exception as error:
            raise SourceVanishedError(self._url) from error


def name_version(entry: Mapping[str, Any]) -> str:
    """What names this version of a file; of one whose library says nothing, a name that no other scan gives."""
    said = {name: str(entry[name]) for name in NAMES_VERSION if entry.get(name) is not None}
    if not said:
        return f"unknown {uuid4().hex}"
    whole = repr((sorted(said.items()), entry.get("size")))
    return f"info {hashlib.sha256(whole.encode('utf-8', 'replace')).hexdigest()}"


def _copy(filesystem: Any, place: str, file: Path, max_bytes: int) -> None:  # noqa: ANN401 — another library's
    """Copy a file, and one byte more than is read of one that is too large."""
    left = max_bytes + 1
    with filesystem.open(place, "rb") as remote, file.open("wb") as local:
        while left and (part := remote.read(min(PART_BYTES, left))):
            local.write(part)
            left -= len(part)
