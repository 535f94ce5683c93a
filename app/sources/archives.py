"""Archives as folders: what a ``.zip`` or ``.tar`` holds, and the bytes of one member. Runs in child processes.

A member is named by the way to it: the archive's path, then ``!/`` and the name inside, as often as archives are
nested. Nothing is written under a name from an archive, so no name can lead anywhere.
"""

import bz2
import calendar
import gzip
import lzma
import os
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any, Protocol, cast

SUFFIXES = {
    ".zip": "zip", ".tar": "tar", ".tar.gz": "gz", ".tgz": "gz", ".tar.bz2": "bz2", ".tbz2": "bz2", ".tar.xz": "xz",
    ".txz": "xz",
}  # fmt: skip
BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError, NotImplementedError,
    RuntimeError, OverflowError, IndexError, KeyError, struct.error,
)  # fmt: skip
"""What the standard library raises over damaged archives."""
HEADER_BYTES = 512
PART_BYTES = 256 * 1024
MEMORY_BYTES = 8 * 1024 * 1024
SECOND = 1_000_000_000
ENCRYPTED = 0x1


class MemberError(Exception):
    """A member of an archive, or a whole archive, that cannot be read; ``code`` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Readable(Protocol):
    """Bytes that are read once, from the beginning."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; all without a size."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """How much an archive, with all that is nested in it, may hold.

    Attributes:
        members: most members.
        bytes: most bytes, unpacked.
        ratio: most bytes unpacked for each byte packed; small archives are not judged by it.
        depth: how many archives may stand in one another; 1 reads no archive inside an archive.
    """

    members: int = 100_000
    bytes: int = 10 * 1024**3
    ratio: int = 200
    depth: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file inside an archive.

    ``modified_ns`` is its own time; below the second it holds a check of its content where the archive has one.
    ``offset`` is where its bytes begin in an unpacked ``.tar``; None in a ``.zip``.
    """

    name: str
    size: int
    modified_ns: int
    offset: int | None = None
    error_code: str | None = None
    error_message: str | None = None


def archive_kind(name: str) -> str | None:
    """``gz`` of ``a/b.TAR.gz``; None if the name is no archive's."""
    lower = name.lower()
    return next((kind for suffix, kind in SUFFIXES.items() if lower.endswith(suffix)), None)


def open_tar_stream(source: Any, kind: str) -> IO[bytes]:  # noqa: ANN401 — a path or a binary file
    """The bytes of a ``.tar``, unpacked as they are read; seeking back begins anew."""
    stream: IO[bytes]
    if kind == "gz":
        stream = cast("IO[bytes]", gzip.open(source, "rb"))  # noqa: SIM115 — its user closes it
    elif kind == "bz2":
        stream = cast("IO[bytes]", bz2.BZ2File(source))
    elif kind == "xz":
        stream = cast("IO[bytes]", lzma.LZMAFile(source))  # noqa: SIM115 — see above
    else:
        stream = open(source, "rb") if isinstance(source, str) else source  # noqa: PTH123, SIM115 — see above
    return stream


def clean_name(name: str) -> str | None:
    """The name of a member below its archive; None for one that would lead out of it."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in {"", "."}]
    return None if ".." in parts or not parts or "\0" in name else "/".join(parts)


def describe_zip_entry(info: zipfile.ZipInfo, name: str) -> Entry:
    """An entry of a ``.zip``, whose times have two seconds of room for the checksum."""
    try:
        seconds = calendar.timegm((*info.date_time, 0, 0, 0))
    except (ValueError, OverflowError):
        seconds = 0
    encrypted = bool(info.flag_bits & ENCRYPTED)
    return Entry(
        name=name,
        size=info.file_size,
        modified_ns=seconds * SECOND + info.CRC % (2 * SECOND),
        error_code="encrypted_document" if encrypted else None,
        error_message="the archive is protected by a password" if encrypted else None,
    )


def passes_check(content: bytes, archive: str, modified_ns: int) -> bool:
    """Whether a member has the content that it was listed with; in a ``.tar`` that is not packed nobody knows."""
    kind = archive_kind(archive) or "zip"
    if kind == "tar":
        return True
    room = 2 * SECOND if kind == "zip" else SECOND
    return zlib.crc32(content) % room == modified_ns % room


def copy_member(member: Readable, most: int) -> IO[bytes]:
    """A nested archive in memory, or in a file without a name if it is large.

    Raises:
        MemberError: ``archive_bomb`` if it has more bytes.
    """
    copy: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115 — its reader closes it
    copied = 0
    while part := member.read(PART_BYTES):
        copied += len(part)
        if copied > most:
            raise MemberError("archive_bomb", f"an archive inside it has more than {most} bytes")
        copy.write(part)
    copy.seek(0)
    return copy


def list_tar(stream: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """The members of an unpacked ``.tar`` in order, in memory for one.

    Raises:
        MemberError: ``corrupt_archive`` if it ends where no archive ends, which the library does not mind.
    """
    with tarfile.open(fileobj=stream, mode="r:", errors="surrogateescape") as tar:
        while (info := tar.next()) is not None:
            yield info
            tar.members = []  # type: ignore[attr-defined]  # it would keep them all
        stream.seek(tar.offset)
        if stream.read(HEADER_BYTES).strip(b"\0"):
            raise MemberError("corrupt_archive", "the archive is damaged or cut off")


class OpenArchive:
    """An archive that is read from: by the name of a member of a ``.zip``, by the place of one of a ``.tar``."""

    def __init__(self, source: Any, name: str) -> None:  # noqa: ANN401 — a path or a binary file
        kind = archive_kind(name) or "zip"
        self._source = source
        self._zip = zipfile.ZipFile(source) if kind == "zip" else None
        self._stream = None if kind == "zip" else open_tar_stream(source, kind)
        infos = [] if self._zip is None else self._zip.infolist()
        self._infos = {clean_name(info.filename): info for info in infos if not info.is_dir()}

    def __del__(self) -> None:
        opened = [getattr(self, name, None) for name in ("_zip", "_stream", "_source")]
        for file in opened:
            if file is not None and not isinstance(file, str):
                file.close()

    def open_member(self, name: str, *, offset: int | None = None, length: int | None = None) -> Readable:
        """A member from its beginning; one of a ``.tar`` without ``offset`` is looked for from the start.

        Raises:
            MemberError: ``file_vanished`` if it is not there any more.
        """
        if self._stream is not None:
            return self._open_place(name, offset, length)
        info = self._infos.get(name)
        if info is None or self._zip is None:
            raise MemberError("file_vanished", "the archive does not hold it any more")
        return self._zip.open(info)

    def _open_place(self, name: str, offset: int | None, length: int | None) -> Readable:
        if self._stream is None:
            raise MemberError("file_vanished", "the archive is of another kind now")
        if offset is None:
            places = [(info.offset_data, info.size) for info in self._list() if clean_name(info.name) == name]
            if not places:
                raise MemberError("file_vanished", "the archive does not hold it any more")
            offset, length = places[-1]
        self._stream.seek(offset - HEADER_BYTES)
        try:
            header = tarfile.TarInfo.frombuf(self._stream.read(HEADER_BYTES), "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            raise MemberError("file_vanished", "the archive has changed since it was listed") from error
        if header.size != length:
            raise MemberError("file_vanished", "the archive has changed since it was listed")
        return StreamPart(self._stream, header.size)

    def _list(self) -> Iterator[tarfile.TarInfo]:
        if self._stream is not None:
            self._stream.seek(0)
            yield from list_tar(self._stream)


class StreamPart:
    """So many bytes of a stream, which stays open."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes; raises EOFError if the stream ends too early."""
        wanted = self._left if size < 0 else min(size, self._left)
        content = self._stream.read(wanted)
        self._left -= len(content)
        if len(content) < wanted:
            raise EOFError("the archive ends in the middle of a member")
        return content


@lru_cache(maxsize=4)
def _open_archive(path: str, changed: tuple[int, int, int], *nested: str) -> OpenArchive:
    """It stays open while its members are read one after the other: opening it anew for each would be quadratic.

    ``nested`` are the names of the archives inside it.
    """
    if not nested:
        return OpenArchive(path, path)
    outer = _open_archive(path, changed, *nested[:-1])
    return OpenArchive(copy_member(outer.open_member(nested[-1]), ArchiveLimits().bytes), nested[-1])


def read_member(
    path: str, members: tuple[str, ...], *, offset: int | None, length: int | None, max_bytes: int
) -> bytes:
    """The content of a member: all of it, or ``max_bytes`` and one more.

    Raises:
        MemberError: with the document's error code.
        OSError: if the archive itself cannot be read.
    """
    status = os.stat(path)  # noqa: PTH116 — names that are not UTF-8 stay as they are
    changed = (status.st_ino, status.st_size, status.st_mtime_ns)
    with explained():
        archive = _open_archive(path, changed, *members[:-1])
        return archive.open_member(members[-1], offset=offset, length=length).read(max_bytes + 1)


@contextmanager
def explained() -> Iterator[None]:
    """What the libraries raise over a damaged archive as ``MemberError``."""
    try:
        yield
    except NotImplementedError as error:
        raise MemberError("unsupported_format", "packed in a way that cannot be unpacked") from error
    except BROKEN as error:
        raise MemberError("corrupt_archive", "the archive is damaged or cut off") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise MemberError("corrupt_archive", "the archive is damaged or cut off") from error
