"""A local folder or file."""

import asyncio
import os
import stat
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

from wcmatch import glob

from app.domain.documents import Locator, ScannedDocument
from app.domain.errors import (
    SourceNotAllowedError,
    SourceNotFoundError,
    SourceVanishedError,
    UnsupportedSourceError,
)
from app.domain.ports import Processes

BATCH = 1000
SCAN_SECONDS = 300.0
JUNK_FOLDERS = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})
RECORD_SUFFIXES = frozenset({".jsonl", ".ndjson"})
BINARY_SUFFIXES = frozenset(
    {
        ".7z", ".a", ".avi", ".avif", ".bin", ".bmp", ".bz2", ".class", ".db", ".dll", ".dmg", ".dylib",
        ".eot", ".exe", ".flac", ".gif", ".gz", ".heic", ".ico", ".iso", ".jar", ".jpeg", ".jpg", ".lz4",
        ".mkv", ".mov", ".mp3", ".mp4", ".npy", ".npz", ".o", ".ogg", ".otf", ".parquet", ".pickle", ".pkl",
        ".png", ".pyc", ".pyd", ".rar", ".so", ".sqlite", ".svgz", ".tar", ".tgz", ".tif", ".tiff", ".ttf",
        ".wasm", ".wav", ".webm", ".webp", ".whl", ".woff", ".woff2", ".xz", ".zip", ".zst",
    }
)  # fmt: skip
GLOB_FLAGS = glob.GLOBSTAR | glob.DOTGLOB | glob.BRACE

ScannedRecord = tuple[str | None, int, int, bytes, str | None, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReader:
    """Functions that read record files, called in child processes."""

    is_record_file: Callable[[str], bool]
    scan_records: Callable[[str, int, int], tuple[list[ScannedRecord], int | None]]


def resolve_source_path(url: str, roots: Sequence[Path] = ()) -> Path:
    """The local path of a source.

    Raises:
        UnsupportedSourceError: if the URL is not ``file:`` or a path.
        SourceNotAllowedError: if ``roots`` are given and the real path lies in none of them.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        path = Path(os.fsdecode(unquote_to_bytes(parts.path)))
    elif parts.scheme and "://" in url:
        raise UnsupportedSourceError(f"sources of kind {parts.scheme!r} are not supported yet; give a folder or a file")
    else:
        path = Path(url)
    path = path.expanduser().absolute()
    real = path.resolve()
    if roots and not any(real.is_relative_to(root.resolve()) for root in roots):
        raise SourceNotAllowedError("this server may only read the folders its operator allows")
    return path


class DirectorySource:
    """``DocumentSource`` over a folder or a single file.

    Hidden files, dependency folders and formats that hold no text are left out and counted in ``skipped``.
    Links are followed inside the root only, and no folder is walked twice.
    """

    def __init__(
        self,
        path: str,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        max_bytes: int,
        processes: Processes,
        records: RecordReader,
    ) -> None:
        self._root = Path(path)
        self._include = tuple(include)
        self._exclude = tuple(exclude)
        self._max_bytes = max_bytes
        self._processes = processes
        self._records = records
        self._skipped: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """The root as a ``file:`` URL."""
        return self._root.absolute().as_uri()

    @property
    def skipped(self) -> Mapping[str, int]:
        """Files left out by the last scan, by reason."""
        return self._skipped

    async def scan(self) -> AsyncIterator[list[ScannedDocument]]:
        """See the port."""
        self._skipped = Counter()
        if not await asyncio.to_thread(self._is_readable):
            raise SourceNotFoundError(self.url)
        walk = self._walk()
        while files := await asyncio.to_thread(lambda: list(islice(walk, BATCH))):
            records = [item for item in files if await self._holds_records(item)]
            for item in records:
                async for batch in self._scan_records(item):
                    yield batch
            plain = [item for item in files if item not in records] if records else files
            if plain:
                yield plain
        if not await asyncio.to_thread(self._root.exists):
            raise SourceVanishedError(self.url)

    def _is_readable(self) -> bool:
        return os.access(self._root, os.R_OK) and (self._root.is_dir() or self._root.is_file())

    def _walk(self) -> Iterator[ScannedDocument]:
        if self._root.is_file():
            yield self._describe(str(self._root), self._root.name, self._root.stat())
            return
        real_root = self._root.resolve()
        walked: set[tuple[int, int]] = set()
        folders = [str(self._root)]
        while folders:
            folder = folders.pop()
            try:
                children = self._open_folder(folder, walked)
            except OSError as error:
                yield self._broken(folder, "unreadable_file", error.strerror or "cannot be read")
                continue
            inner: list[str] = []
            for entry in children:
                document = self._see(entry, real_root, inner)
                if document is not None:
                    yield document
            folders.extend(reversed(inner))

    def _open_folder(self, folder: str, walked: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
        """What a folder holds, by name; nothing if it was walked already or has just gone.

        Raises:
            SourceVanishedError: if the root itself has gone.
            OSError: if it cannot be read.
        """
        try:
            status = os.stat(folder)  # noqa: PTH116 — names that are not UTF-8 stay as they are
            if (status.st_dev, status.st_ino) in walked:
                return []
            walked.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            if self._root.exists():
                return []
            raise SourceVanishedError(self.url) from None

    def _see(self, entry: os.DirEntry[str], real_root: Path, inner: list[str]) -> ScannedDocument | None:
        """The document of an entry, if it is one; a folder goes to ``inner``."""
        if self._leave_out(entry):
            return None
        if entry.is_symlink() and not self._stays_inside(entry, real_root):
            return self._explain_link(entry)
        if entry.is_dir():
            inner.append(entry.path)
            return None
        return self._see_file(entry)

    def _leave_out(self, entry: os.DirEntry[str]) -> bool:
        if entry.name.startswith("."):
            self._skipped["hidden"] += 1
            return True
        if entry.name in JUNK_FOLDERS and entry.is_dir(follow_symlinks=False):
            self._skipped["dependencies"] += 1
            return True
        return False

    def _stays_inside(self, entry: os.DirEntry[str], real_root: Path) -> bool:
        try:
            return Path(entry.path).resolve(strict=True).is_relative_to(real_root)
        except (OSError, RuntimeError):
            return False

    def _explain_link(self, entry: os.DirEntry[str]) -> ScannedDocument:
        if Path(entry.path).exists():
            return self._broken(
                entry.path, "symlink_outside_source", "a link that leads out of the source is not followed"
            )
        return self._broken(entry.path, "unreadable_file", "a link to nothing, or in a circle")

    def _see_file(self, entry: os.DirEntry[str]) -> ScannedDocument | None:
        relative = os.path.relpath(entry.path, self._root)
        if not self._is_wanted(relative):
            self._skipped["filtered"] += 1
            return None
        try:
            status = entry.stat()
        except OSError as error:
            return self._broken(entry.path, "unreadable_file", error.strerror or "cannot be read")
        if not stat.S_ISREG(status.st_mode):
            self._skipped["special"] += 1
            return None
        if os.path.splitext(entry.name)[1].lower() in BINARY_SUFFIXES:  # noqa: PTH122 — a name, not a path
            self._skipped["binary"] += 1
            return None
        return self._describe(entry.path, relative, status)

    def _is_wanted(self, relative: str) -> bool:
        if self._include and not glob.globmatch(relative, self._include, flags=GLOB_FLAGS):
            return False
        return not (self._exclude and glob.globmatch(relative, self._exclude, flags=GLOB_FLAGS))

    def _describe(self, path: str, relative: str, status: os.stat_result) -> ScannedDocument:
        too_large = status.st_size > self._max_bytes and not _may_hold_records(path)
        return ScannedDocument(
            uri=Path(path).absolute().as_uri(),
            path=printable(relative),
            locator=Locator(path=str(Path(path).absolute())),
            size=status.st_size,
            modified_ns=status.st_mtime_ns,
            error_code="document_too_large" if too_large else None,
            error_message=f"{status.st_size} bytes, at most {self._max_bytes} are read" if too_large else None,
        )

    def _broken(self, path: str, code: str, message: str) -> ScannedDocument:
        return ScannedDocument(
            uri=Path(path).absolute().as_uri(),
            path=printable(os.path.relpath(path, self._root)),
            locator=Locator(path=path),
            size=0,
            modified_ns=0,
            error_code=code,
            error_message=message,
        )

    async def _holds_records(self, item: ScannedDocument) -> bool:
        path = item.locator.path
        if item.error_code is not None or not _may_hold_records(path):
            return False
        return await self._processes.run(self._records.is_record_file, path, timeout_seconds=SCAN_SECONDS)

    async def _scan_records(self, item: ScannedDocument) -> AsyncIterator[list[ScannedDocument]]:
        seen: Counter[str] = Counter()
        offset: int | None = 0
        while offset is not None:
            records, offset = await self._processes.run(
                self._records.scan_records, item.locator.path, offset, BATCH, timeout_seconds=SCAN_SECONDS
            )
            if records:
                yield [self._describe_record(item, record, seen) for record in records]

    def _describe_record(self, item: ScannedDocument, record: ScannedRecord, seen: Counter[str]) -> ScannedDocument:
        name, start, length, digest, code, message = record
        name = name or f"offset-{start}"
        seen[name] += 1
        if seen[name] > 1:
            code, message = "duplicate_record", f"the file has another record with the id {name!r}"
            name = f"{name}~{seen[name]}"
        return ScannedDocument(
            uri=f"{item.uri}#{quote(name, safe='')}",
            path=f"{item.path}#{printable(name)}",
            locator=Locator(path=item.locator.path, offset=start, length=length),
            size=length,
            modified_ns=item.modified_ns,
            content_hash=digest,
            error_code=code,
            error_message=message,
        )


def _may_hold_records(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in RECORD_SUFFIXES  # noqa: PTH122 — a name, not a path


def printable(path: str) -> str:
    """A path for people: control characters and bytes that are not UTF-8 are escaped, ``/`` stays."""
    text = path.encode("utf-8", "backslashreplace").decode()
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
