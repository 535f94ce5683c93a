"""``.gitignore`` files by git's rules."""

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from app.domain.errors import InvalidSourceError
from app.sources.wildmatch import NeverMatchesError, Wildmatch

NAME = ".gitignore"
OPTION = "gitignore"
MOST_BYTES = 256 * 1024
MOST_PATTERNS = 5000
"""Of one folder and those above it."""
LONGEST_PATTERN = 4096
BOM = b"\xef\xbb\xbf"


class GitignoreError(Exception):
    """A ``.gitignore`` cannot be read, or has more patterns than are followed: nobody knows what it leaves out."""


def is_honoured(options: Mapping[str, Any]) -> bool:
    """What a source's options say; raises InvalidSourceError if that is neither true nor false."""
    said = options.get(OPTION, False)
    if not isinstance(said, bool):
        raise InvalidSourceError(f"{OPTION} is true or false")
    return said


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line; a later one overrules it."""

    number: int
    pattern: Wildmatch
    is_negative: bool
    only_folders: bool
    by_name: bool

    def matches(self, path: bytes, name: bytes, *, is_folder: bool) -> bool:
        """Whether it says something of a path below the folder that its file is in."""
        return (is_folder or not self.only_folders) and self.pattern.matches(name if self.by_name else path)


class IgnoreFile:
    """The rules of one file.

    Raises:
        GitignoreError: if it is too large.
    """

    def __init__(self, content: bytes) -> None:
        if len(content) > MOST_BYTES:
            raise GitignoreError(f"it has more than {MOST_BYTES} bytes")
        self._rules: list[Rule] = []
        for line in content.removeprefix(BOM).split(b"\n"):
            if line and not line.startswith(b"#"):
                self._add(_trim(line.removesuffix(b"\r").partition(b"\0")[0]))
        self._names: dict[bytes, list[Rule]] = {}
        self._paths: dict[bytes, list[Rule]] = {}
        self._others: list[Rule] = []
        for rule in reversed(self._rules):
            literal = rule.pattern.literal
            if literal is None:
                self._others.append(rule)
            else:
                (self._names if rule.by_name else self._paths).setdefault(literal, []).append(rule)

    def __len__(self) -> int:
        return len(self._rules)

    def ignores(self, path: bytes, *, is_folder: bool) -> bool | None:
        """What the last rule that matches says of a path below the file's folder; None if there is none."""
        name = path.rpartition(b"/")[2]
        found: Rule | None = None
        for rule in (*self._names.get(name, ()), *self._paths.get(path, ())):
            is_later = found is None or rule.number > found.number
            if is_later and (is_folder or not rule.only_folders):
                found = rule
        for rule in self._others:
            if found is not None and rule.number < found.number:
                break
            if rule.matches(path, name, is_folder=is_folder):
                found = rule
                break
        return None if found is None else not found.is_negative

    def _add(self, line: bytes) -> None:
        is_negative = line.startswith(b"!")
        whole = line[is_negative:]
        text = whole.removesuffix(b"/")
        by_name = b"/" not in text
        if len(text) > LONGEST_PATTERN:
            raise GitignoreError(f"it has a pattern of more than {LONGEST_PATTERN} bytes")
        with suppress(NeverMatchesError):
            rule = Rule(
                number=len(self._rules),
                pattern=Wildmatch(text.removeprefix(b"/")),
                is_negative=is_negative,
                only_folders=text != whole,
                by_name=by_name,
            )
            self._rules.append(rule)


def _trim(line: bytes) -> bytes:
    r"""A line without the spaces at its end; one behind ``\`` stays."""
    trimmed = line.rstrip(b" ")
    escapes = len(trimmed) - len(trimmed.rstrip(b"\\"))
    return line[: len(trimmed) + 1] if escapes % 2 else trimmed


class Gitignores:
    """What the files of a folder and those above it say of what lies in it.

    Args:
        read: what the ``.gitignore`` of a folder holds, None if there is none, at most ``MOST_BYTES`` and one more. A
            folder is a relative path that ends with ``/``, empty for the root.
    """

    def __init__(self, read: Callable[[str], bytes | None]) -> None:
        self._read = read
        self._chain: list[tuple[str, int, IgnoreFile | None]] = []

    def enter(self, folder: str) -> None:
        """Look at a folder from now on; quickest from one to those inside it.

        Raises:
            GitignoreError: if nobody can say what is left out there.
        """
        while self._chain and not folder.startswith(self._chain[-1][0]):
            self._chain.pop()
        place = self._chain[-1][0] if self._chain else None
        while place != folder:
            place = "" if place is None else folder[: folder.index("/", len(place)) + 1]
            self._chain.append((place, len(os.fsencode(place)), self._load(place)))

    def _load(self, place: str) -> IgnoreFile | None:
        content = self._read(place)
        if content is None:
            return None
        file = IgnoreFile(content)
        if len(file) + sum(len(above) for _, _, above in self._chain if above is not None) > MOST_PATTERNS:
            raise GitignoreError(f"with those above it, it has more than {MOST_PATTERNS} patterns")
        return file

    def ignores(self, relative: str, *, is_folder: bool) -> bool:
        """Whether something in the folder is left out; the file nearest to it that says something decides."""
        path = os.fsencode(relative)
        for _, start, file in reversed(self._chain):
            if file is not None and (said := file.ignores(path[start:], is_folder=is_folder)) is not None:
                return said
        return False


def read_local(root: str) -> Callable[[str], bytes | None]:
    """Reads those below a folder of this machine; as for git, a link or anything else that is no file is none."""

    def read(folder: str) -> bytes | None:
        path = f"{root}/{folder}{NAME}"
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                return None
            # whatever is put there meanwhile must not keep whoever opens it waiting
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                return file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise GitignoreError(error.strerror or "it cannot be read") from error

    return read
