"""Files below a folder, in a stable order."""

import os
import stat
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

from app.domain.errors import ProcessAnswerTooLargeError, ProcessDiedError, ProcessTimeoutError
from app.sources.archives import archive_kind
from app.sources.gitignore import NAME, GitignoreError, Gitignores, read_local
from app.sources.globs import PathFilter

CHILD_ENDED = (ProcessDiedError, ProcessTimeoutError, ProcessAnswerTooLargeError)
JUNK_FOLDERS = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})
BINARY_SUFFIXES = frozenset(
    {
        ".7z", ".a", ".avi", ".avif", ".bin", ".bmp", ".bz2", ".class", ".db", ".deb", ".dll", ".dmg", ".dylib",
        ".eot", ".exe", ".flac", ".gif", ".gz", ".heic", ".ico", ".img", ".iso", ".jar", ".jpeg", ".jpg", ".lz4",
        ".m4a", ".mdb", ".mkv", ".mov", ".mp3", ".mp4", ".npy", ".npz", ".o", ".ogg", ".otf", ".parquet", ".pickle",
        ".pkl", ".png", ".pyc", ".pyd", ".rar", ".rpm", ".so", ".sqlite", ".sqlite3", ".svgz", ".tar", ".tgz", ".tif",
        ".tiff", ".ttf", ".wasm", ".wav", ".webm", ".webp", ".whl", ".woff", ".woff2", ".xz", ".zip", ".zst",
    }
)  # fmt: skip
PICTURE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".tif", ".tiff"})


def binary_suffixes(*, reads_pictures: bool) -> frozenset[str]:
    """Names of files that hold no text, or none that can be read."""
    return BINARY_SUFFIXES - PICTURE_SUFFIXES if reads_pictures else BINARY_SUFFIXES


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies at a path below the root: a file with its status, or something that cannot be read."""

    relative: str
    status: os.stat_result | None = None
    error_code: str | None = None
    error_message: str | None = None


class Walk:
    """All files below a folder, sorted within each folder, the folders after the files beside them.

    Folders behind links come last, so that a folder is seen at its own place first. Memory is bounded by the
    names of the largest folder and the number of folders.

    Args:
        gitignore: whether what ``.gitignore`` files leave out is left out. A folder whose file cannot be followed is
            not walked: that file is found, with the error.
    """

    def __init__(
        self,
        root: str,
        choice: PathFilter,
        skipped: Counter[str],
        unseen: list[str],
        *,
        binary: frozenset[str],
        gitignore: bool = False,
    ) -> None:
        self._base = root.rstrip("/")
        self._real = os.path.realpath(root)
        self._choice = choice
        self._binary = binary
        self._skipped = skipped
        self._unseen = unseen
        self._ignores = Gitignores(read_local(self._base)) if gitignore else None
        self._folders = [""]
        self._linked: deque[str] = deque()
        self._walked: set[tuple[int, int]] = set()

    def __iter__(self) -> Iterator[Found]:
        while self._folders or self._linked:
            yield from self._walk_folder(self._folders.pop() if self._folders else self._linked.popleft())

    def _walk_folder(self, folder: str) -> Iterator[Found]:
        """``folder`` is empty for the root, else a relative path that ends with ``/``."""
        try:
            names = self._list_names(folder)
        except GitignoreError as error:
            self._unseen.append(folder or "/")
            yield Found(relative=f"{folder}{NAME}", error_code="unreadable_gitignore", error_message=str(error))
            return
        except OSError as error:
            if not folder:
                raise
            if not isinstance(error, FileNotFoundError):
                self._unseen.append(folder)
                yield unreadable(folder.rstrip("/"), error)
            return
        inner: list[str] = []
        for name in names:
            if name.startswith("."):
                self._skipped["hidden"] += 1
            elif (found := self._see(f"{folder}{name}", inner)) is not None:
                yield found
        self._folders.extend(reversed(inner))

    def _list_names(self, folder: str) -> list[str]:
        path = f"{self._base}/{folder}"
        status = os.stat(path)  # noqa: PTH116 — strings keep names that are not UTF-8, and are 3 times faster
        identity = (status.st_dev, status.st_ino)
        if identity in self._walked:
            self._skipped["walked_before"] += 1
            return []
        self._walked.add(identity)
        if self._ignores is not None:
            self._ignores.enter(folder)
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries)

    def _see(self, relative: str, inner: list[str]) -> Found | None:
        """A file, or None for a folder, which is put off, and for what is left out."""
        try:
            status = os.lstat(f"{self._base}/{relative}")
        except FileNotFoundError:
            return None
        except OSError as error:
            return unreadable(relative, error)
        is_folder = stat.S_ISDIR(status.st_mode)
        if self._ignores is not None and self._ignores.ignores(relative, is_folder=is_folder):
            self._skipped["gitignore"] += 1
            return None
        if stat.S_ISLNK(status.st_mode):
            return self._see_link(relative)
        if is_folder:
            self._put_off(relative, inner)
            return None
        return self._see_file(relative, status)

    def _see_link(self, relative: str) -> Found | None:
        path = f"{self._base}/{relative}"
        try:
            real = os.path.realpath(path, strict=True)
            status = os.stat(path)  # noqa: PTH116 — see above
        except OSError:
            if self._leaves_out(relative):
                return None
            return Found(
                relative=relative, error_code="unreadable_file", error_message="a link to nothing, or in a circle"
            )
        leads_to_folder = stat.S_ISDIR(status.st_mode)
        if real != self._real and not real.startswith(f"{self._real.rstrip('/')}/"):
            if self._choice.excludes(relative) or (not leads_to_folder and self._leaves_out(relative)):
                return None
            return Found(
                relative=relative,
                error_code="symlink_outside_source",
                error_message="a link that leads out of the source is not followed",
            )
        if leads_to_folder:
            self._put_off(relative, self._linked)
            return None
        return self._see_file(relative, status)

    def _put_off(self, relative: str, queue: "list[str] | deque[str]") -> None:
        if relative.rpartition("/")[2] in JUNK_FOLDERS:
            self._skipped["dependencies"] += 1
        elif self._choice.excludes_folder(relative):
            self._skipped["filtered"] += 1
        else:
            queue.append(f"{relative}/")

    def _see_file(self, relative: str, status: os.stat_result) -> Found | None:
        if not stat.S_ISREG(status.st_mode):
            self._skipped["special"] += 1
            return None
        if self._leaves_out(relative):
            return None
        if not os.access(f"{self._base}/{relative}", os.R_OK):
            return Found(relative=relative, error_code="unreadable_file", error_message="permission denied")
        return Found(relative=relative, status=status)

    def _leaves_out(self, relative: str) -> bool:
        if archive_kind(relative) is not None:
            # what it holds may be wanted though its own name is not
            if self._choice.excludes(relative):
                self._skipped["filtered"] += 1
                return True
            return False
        if not self._choice.wants(relative):
            self._skipped["filtered"] += 1
            return True
        if suffix_of(relative) in self._binary:
            self._skipped["binary"] += 1
            return True
        return False


def unreadable(relative: str, error: BaseException) -> Found:
    """What could not be read, and why."""
    if isinstance(error, CHILD_ENDED):
        return Found(relative=relative, error_code=error.code, error_message=error.message)
    message = (error.strerror if isinstance(error, OSError) else None) or "cannot be read"
    return Found(relative=relative, error_code="unreadable_file", error_message=message)


def suffix_of(path: str) -> str:
    """``.md`` of ``a/b.MD``."""
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 — a name, which need not be UTF-8
