"""Files of this machine that are to be sent to a server."""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.cli.client import CliError
from app.domain.uploads import UploadPathError, clean_path
from app.sources.directory import printable
from app.sources.globs import PathFilter
from app.sources.walk import Walk, binary_suffixes


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file, and the path it is sent under; or why it is not."""

    place: str
    path: str
    size: int
    error_code: str | None = None
    error_message: str | None = None

    def digest(self) -> str:
        """Its sha256 in hexadecimal digits."""
        with open(self.place, "rb") as file:  # noqa: PTH123 — names that are not UTF-8 stay as they are
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read(self, offset: int, size: int) -> bytes:
        """A part of it."""
        with open(self.place, "rb") as file:  # noqa: PTH123 — see above
            file.seek(offset)
            return file.read(size)


def list_files(root: Path, include: Sequence[str], exclude: Sequence[str]) -> list[LocalFile]:
    """What a server would read that had this folder: hidden files, dependencies and formats without text stay here.

    A file keeps its name, those in a folder have the name of that in front.

    Raises:
        CliError: if there is no such file or folder.
        InvalidInputError: if a glob cannot be used.
    """
    choice = PathFilter(include, exclude)
    place = os.path.realpath(root)
    try:
        status = os.stat(place)  # noqa: PTH116 — see above
    except OSError:
        raise CliError("source_not_found", f"there is no {root}; nothing was sent") from None
    name = os.path.basename(place)  # noqa: PTH119 — see above
    if not stat.S_ISDIR(status.st_mode):
        return [_describe(place, name, status.st_size)]
    return sorted(_walk(place, name, choice), key=lambda file: file.path)


def _walk(place: str, name: str, choice: PathFilter) -> Iterator[LocalFile]:
    # whether pictures can be read, the server knows
    binary = binary_suffixes(reads_pictures=True)
    for found in Walk(place, choice, Counter(), [], binary=binary):
        file, path = f"{place}/{found.relative}", f"{name}/{found.relative}"
        if found.status is None or found.error_code is not None:
            yield LocalFile(
                place=file,
                path=printable(path),
                size=0,
                error_code=found.error_code,
                error_message=found.error_message,
            )
        else:
            yield _describe(file, path, found.status.st_size)


def _describe(place: str, path: str, size: int) -> LocalFile:
    try:
        return LocalFile(place=place, path=clean_path(path), size=size)
    except UploadPathError as error:
        return LocalFile(
            place=place, path=printable(path), size=size, error_code=error.code, error_message=error.message
        )
