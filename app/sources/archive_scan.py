"""What an archive holds, as a scan of its source sees it. Runs in child processes."""

import os
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import IO, Any

from app.sources.archives import (
    PART_BYTES,
    SECOND,
    ArchiveLimits,
    Entry,
    MemberError,
    Readable,
    StreamPart,
    archive_kind,
    clean_name,
    copy_member,
    describe_zip_entry,
    explained,
    list_tar,
    open_tar_stream,
)
from app.sources.globs import PathFilter
from app.sources.walk import JUNK_FOLDERS, suffix_of

SMALL_BYTES = 16 * 1024 * 1024
"""Up to so many bytes unpacked, an archive is not judged by its ratio."""
LATEST_SECOND = 9_000_000_000

ScannedMember = tuple[tuple[str, ...], Entry]
ArchiveScan = tuple[list[ScannedMember], dict[str, int]]
Opener = Callable[[], Readable]


def scan_archive(
    path: str,
    below: str,
    globs: tuple[Sequence[str], Sequence[str]],
    limits: ArchiveLimits,
    binary: frozenset[str],
) -> ArchiveScan:
    """The members that belong to the source, and how many were left out, by reason.

    A broken archive inside it is one member with an error. One that is broken itself has the empty name, and is all
    there is.

    Args:
        path: of the archive.
        below: its path below the root of the source, empty if it is the root.
        globs: ``include`` and ``exclude``, over ``below`` and the names inside.
        limits: for it and all that is nested in it.
        binary: suffixes of members that are left out.
    """
    packed_bytes = os.stat(path).st_size  # noqa: PTH116 — names that are not UTF-8 stay as they are
    scan = _Scan(below, PathFilter(*globs), limits, packed_bytes, binary)
    try:
        scan.read(path, path, ())
    except MemberError as error:
        return [((), _failed(error))], {}
    return list(scan.found.items()), dict(scan.skipped)


def _failed(error: MemberError, *, name: str = "", size: int = 0, modified_ns: int = 0) -> Entry:
    return Entry(name=name, size=size, modified_ns=modified_ns, error_code=error.code, error_message=error.message)


class _Scan:
    """One archive and those nested in it, which share its limits."""

    def __init__(
        self, below: str, choice: PathFilter, limits: ArchiveLimits, packed_bytes: int, binary: frozenset[str]
    ) -> None:
        self.found: dict[tuple[str, ...], Entry] = {}
        self.skipped: Counter[str] = Counter()
        self._below = below
        self._choice = choice
        self._wants_all = bool(below) and choice.wants(below)
        self._limits = limits
        self._most_bytes = min(limits.bytes, max(SMALL_BYTES, packed_bytes * limits.ratio))
        self._binary = binary
        self._members = 0
        self._bytes = 0

    def read(self, source: Any, name: str, above: tuple[str, ...]) -> None:  # noqa: ANN401 — a path or a binary file
        """Take the members of one archive; ``above`` are the names of those it stands in, and its own."""
        kind = archive_kind(name) or "zip"
        with explained():
            for entry, opener in self._list_zip(source) if kind == "zip" else self._list_tar(source, kind):
                self._see(entry, opener, above)

    def _count(self, size: int) -> None:
        self._members += 1
        self._bytes += size
        if self._members > self._limits.members:
            raise MemberError("archive_bomb", f"the archive holds more than {self._limits.members} files")
        if self._bytes > self._most_bytes:
            raise MemberError("archive_bomb", f"the archive would unpack to more than {self._most_bytes} bytes")

    def _list_zip(self, source: Any) -> Iterator[tuple[Entry, Opener]]:  # noqa: ANN401 — see above
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                if info.is_dir():
                    continue
                self._count(info.file_size)
                name = clean_name(info.filename)
                if name is None or _is_link(info):
                    self.skipped["special"] += 1
                    continue
                yield describe_zip_entry(info, name), partial(archive.open, info)

    def _list_tar(self, source: Any, kind: str) -> Iterator[tuple[Entry, Opener]]:  # noqa: ANN401 — see above
        with open_tar_stream(source, kind) as stream:
            for info in list_tar(stream):
                self._count(info.size)
                if info.isdir():
                    continue
                name = clean_name(info.name)
                if name is None or not info.isreg() or info.issparse():
                    self.skipped["special"] += 1
                    continue
                yield _describe_tar_entry(info, name, stream, kind), partial(_open_tar_entry, stream, info)

    def _see(self, entry: Entry, opener: Opener, above: tuple[str, ...]) -> None:
        names = (*above, entry.name)
        path = "/".join(part for part in (self._below, *names) if part)
        if (reason := self._leaves_out(entry.name, path)) is not None:
            self.skipped[reason] += 1
        elif archive_kind(entry.name) is None or entry.error_code is not None:
            self.found[names] = entry
        else:
            self._see_archive(entry, opener, names)

    def _see_archive(self, entry: Entry, opener: Opener, names: tuple[str, ...]) -> None:
        if len(names) >= self._limits.depth:
            message = f"archives are read {self._limits.depth} deep"
            self.found[names] = _failed(
                MemberError("archive_too_deep", message),
                name=entry.name,
                size=entry.size,
                modified_ns=entry.modified_ns,
            )
            return
        try:
            with explained(), copy_member(opener(), self._limits.bytes) as copy:
                self.read(copy, entry.name, names)
        except MemberError as error:
            if error.code == "archive_bomb":
                raise
            self.found[names] = _failed(error, name=entry.name, size=entry.size, modified_ns=entry.modified_ns)

    def _leaves_out(self, name: str, path: str) -> str | None:
        """Why a member does not belong to the source, by the rules for files in folders."""
        *folders, last = name.split("/")
        if any(part.startswith(".") for part in (*folders, last)) or "__MACOSX" in folders:
            return "hidden"
        if not JUNK_FOLDERS.isdisjoint(folders):
            return "dependencies"
        if self._choice.excludes(path):
            return "filtered"
        if archive_kind(last) is None:
            if not self._wants_all and not self._choice.wants(path):
                return "filtered"
            if suffix_of(last) in self._binary:
                return "binary"
        return None


def _is_link(info: zipfile.ZipInfo) -> bool:
    """Whether Unix made it a link; its content would be the path it leads to."""
    return (info.external_attr >> 28) == 0xA


def _open_tar_entry(stream: IO[bytes], info: tarfile.TarInfo) -> StreamPart:
    stream.seek(info.offset_data)
    return StreamPart(stream, info.size)


def _describe_tar_entry(info: tarfile.TarInfo, name: str, stream: IO[bytes], kind: str) -> Entry:
    """Its time; where it has to be unpacked anyway, with a check of its content below the second."""
    try:
        seconds = max(0, min(int(info.mtime), LATEST_SECOND))
    except (ValueError, OverflowError):
        seconds = 0
    check = 0
    if kind != "tar":
        part = _open_tar_entry(stream, info)
        while content := part.read(PART_BYTES):
            check = zlib.crc32(content, check)
    return Entry(name=name, size=info.size, modified_ns=seconds * SECOND + check % SECOND, offset=info.offset_data)
