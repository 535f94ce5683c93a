"""The files of a commit, as ``git ls-tree -r -z`` lists them."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from app.sources.archives import archive_kind
from app.sources.globs import PathFilter
from app.sources.walk import JUNK_FOLDERS, suffix_of

PART_BYTES = 1024 * 1024
MOST_FILES = 2_000_000
LONGEST_ENTRY = 64 * 1024
ENTRY = re.compile(rb"(\d{6}) (blob|commit) ([0-9a-f]{64}|[0-9a-f]{40})\t(.+)", re.DOTALL)
LEFT_OUT = {b"120000": "links", b"160000": "submodules"}


class TooManyFilesError(Exception):
    """More files, or longer paths, than are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file; its path is below the folder that was listed."""

    path: str
    blob: str


def read_entries(listing: IO[bytes]) -> Iterator[tuple[bytes, str, bytes]]:
    """Mode, id and path of each. Runs in threads.

    Raises:
        TooManyFilesError: if nobody could mean to read that.
    """
    rest, number = b"", 0
    while part := listing.read(PART_BYTES):
        *whole, rest = (rest + part).split(b"\0")
        number += len(whole)
        if number > MOST_FILES or len(rest) > LONGEST_ENTRY:
            raise TooManyFilesError
        for line in whole:
            found = ENTRY.fullmatch(line)
            if found is not None:
                yield found[1], found[3].decode("ascii"), found[4]


class Listing:
    """The files that belong to a source, in a stable order. ``skipped`` counts the others; a folder counts as one."""

    def __init__(self, choice: PathFilter, skipped: Counter[str], *, binary: frozenset[str]) -> None:
        self._choice = choice
        self._skipped = skipped
        self._binary = binary
        self._folders: dict[str, bool] = {"": True}

    def choose(self, listing: IO[bytes]) -> Iterator[Entry]:
        """Runs in threads."""
        before = b""
        for mode, blob, name in read_entries(listing):
            path = name.decode("utf-8", "surrogateescape")
            # git lists in the order of bytes: only a tree that was not made by it may have a name twice
            if name <= before or not self._enters(path.rpartition("/")[0]):
                continue
            before = name
            reason = LEFT_OUT.get(mode) or self._reason_against(path)
            if reason is None:
                yield Entry(path=path, blob=blob)
            else:
                self._skipped[reason] += 1

    def _enters(self, folder: str) -> bool:
        """Whether a folder is read; asked once of each, from the outside in."""
        known = self._folders.get(folder)
        if known is None:
            above, _, name = folder.rpartition("/")
            known = self._folders[folder] = self._enters(above) and self._wants_folder(folder, name)
        return known

    def _wants_folder(self, folder: str, name: str) -> bool:
        reason = None
        if name.startswith("."):
            reason = "hidden"
        elif name in JUNK_FOLDERS:
            reason = "dependencies"
        elif self._choice.excludes_folder(folder):
            reason = "filtered"
        if reason is not None:
            self._skipped[reason] += 1
        return reason is None

    def _reason_against(self, path: str) -> str | None:
        if path.rpartition("/")[2].startswith("."):
            return "hidden"
        if not self._choice.wants(path):
            return "filtered"
        if archive_kind(path) is None and suffix_of(path) in self._binary:
            return "binary"
        return None
