"""Globs over the path of a document below its source's root."""

from collections.abc import Sequence

from wcmatch import glob
from wcmatch._wcparse import PatternLimitException  # raised by the public functions, exported by none
from wcmatch.glob import WcMatcher

from app.domain.errors import InvalidInputError

FLAGS = glob.GLOBSTAR | glob.DOTGLOB | glob.BRACE
LONGEST_GLOB = 1000


class PathFilter:
    """Chooses documents by path: those that some ``include`` matches (all if there is none) and no ``exclude``.

    ``*`` stays inside a folder, ``**`` goes through any number of them: ``*.md`` are files beside the root,
    ``**/*.md`` files anywhere. A glob without wildcards, or with ``/`` at its end, names a file or a whole folder.

    Raises:
        InvalidInputError: if a glob cannot be used.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        included, excluded = _expand(include), _expand(exclude)
        folders = [pattern.removesuffix("/**") for pattern in excluded if pattern.endswith("/**")]
        self._include = _compile(included) if included else None
        self._exclude = _compile(excluded) if excluded else None
        self._excluded_folders = _compile(folders) if folders else None

    def wants(self, path: str) -> bool:
        """Whether a document at this path belongs to the source."""
        if self.excludes(path):
            return False
        return self._include is None or bool(self._include.match(path))

    def excludes(self, path: str) -> bool:
        """Whether an ``exclude`` matches this path."""
        return self._exclude is not None and bool(self._exclude.match(path))

    def excludes_folder(self, path: str) -> bool:
        """Whether nothing below this folder can be wanted, so that it need not be walked."""
        return self._excluded_folders is not None and bool(self._excluded_folders.match(path))


def _expand(patterns: Sequence[str]) -> list[str]:
    expanded = []
    for pattern in patterns:
        below = pattern.removeprefix("./").lstrip("/")
        if below.endswith("/"):
            expanded.append(f"{below}**")
        elif below and not glob.is_magic(below, flags=FLAGS):
            expanded += [below, f"{below}/**"]
        elif below:
            expanded.append(below)
    return expanded


def _compile(patterns: list[str]) -> WcMatcher[str]:
    if any(len(pattern) > LONGEST_GLOB for pattern in patterns):
        raise InvalidInputError(f"a glob may have at most {LONGEST_GLOB} characters")
    try:
        return glob.compile(patterns, flags=FLAGS)
    except PatternLimitException:
        raise InvalidInputError("a glob stands for too many others; write fewer or shorter {a,b} lists") from None
