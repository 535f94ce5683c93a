"""The data folder: one private folder with one owner process at a time."""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from app.domain.errors import DataFolderBusyError, DataFolderUnusableError

FORMAT = 1
"""Layout of the folder; a version that changes it raises this number."""

MIN_FREE_BYTES = 32 * 1024 * 1024
"""Two segments of a write-ahead log: with less, servers start only to fail."""

LOCK_PATIENCE_SECONDS = 0.25
"""How long a lock attempt outwaits commands that only look whether the folder is owned."""

MAX_SOCKET_PATH_BYTES = 100
"""The kernel's limit is 104 (macOS) or 108 (Linux) with the final zero."""

LONGEST_SOCKET_NAME = "/pg/.s.PGSQL.5432"
PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.+-]+")
"""Paths that mean the same with and without URL quoting: clients disagree about the others."""

HARMLESS_LEFTOVERS = frozenset({"vecloom.lock", "lost+found"})
TRAVERSE = stat.S_IXOTH


def is_root() -> bool:
    """Whether this process runs as root, which Postgres refuses to do."""
    return os.geteuid() == 0


def _advise(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "free some disk space, or use another folder with --data"
    return "give this user write access to it, or use another folder with --data"


class DataFolder:
    """Paths and files of one data folder. Nothing is touched before ``lock`` or a write.

    Args:
        path: the folder; created by ``lock`` if missing, readable by this user only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()

    # what is where

    @property
    def logs(self) -> Path:
        """Folder of the children's logs."""
        return self.path / "logs"

    @property
    def locks(self) -> Path:
        """Folder of the children's lock files."""
        return self.path / "locks"

    @property
    def run(self) -> Path:
        """Folder of the sockets: inside the data folder if the path is short and plain, else a temporary one."""
        inside = self.path / "run"
        if _is_usable_for_sockets(inside):
            return inside
        name = "vecloom-" + hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        for temporary in (Path(tempfile.gettempdir()).resolve(), Path("/tmp").resolve()):  # noqa: S108 - checked for its owner before use
            if _is_usable_for_sockets(temporary / name):
                return temporary / name
        raise DataFolderUnusableError(self.path, "no folder for sockets has a short enough path", "set TMPDIR to one")

    # life

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Own the folder: created, checked and exclusively locked until the block ends or the process dies.

        Raises:
            DataFolderBusyError: another process owns it; the message names it.
            DataFolderUnusableError: it cannot be created or written, is full, not ours, or of a newer version.
        """
        with self._explained():
            self._create()
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _lock_within(descriptor, LOCK_PATIENCE_SECONDS):
                raise DataFolderBusyError(self.path, self._describe_owner())
            with self._explained():
                self._sign(descriptor)
                self._check_format()
            # what an owner that was killed told others is not true any more
            self.remove_server_file()
            try:
                yield
            finally:
                self.remove_server_file()
                os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def is_owned(self) -> bool:
        """Whether a living process holds the lock."""
        try:
            descriptor = os.open(self._lock_file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    # the server file

    def write_server_file(self, content: Mapping[str, object]) -> None:
        """Tell other commands of this user how to reach the owner: ``url``, ``api_key``, ``pid``."""
        with self._explained():
            self.write_private("server.json", orjson.dumps(dict(content)))

    def read_server_file(self) -> dict[str, Any] | None:
        """What the living owner wrote; ``None`` if nobody owns the folder or nothing is written yet."""
        if not self.is_owned():
            return None
        try:
            content = orjson.loads(self._server_file.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return None
        return content if isinstance(content, dict) else None

    def remove_server_file(self) -> None:
        """Take the server file away; nothing happens if there is none."""
        with suppress(OSError):
            self._server_file.unlink(missing_ok=True)

    # the key that secrets are encrypted with

    def ensure_secret_key(self, make: Callable[[], str]) -> None:
        """Have a key, made once; it has to be kept with the data, which it alone can read."""
        with self._explained():
            if not self._secret_key_file.exists():
                self.write_private(self._secret_key_file.name, make().encode())

    def read_secret_key(self) -> str | None:
        """The key, if there is one."""
        try:
            return self._secret_key_file.read_text().strip()
        except OSError:
            return None

    # parts

    def write_private(self, name: str, content: bytes) -> Path:
        """Replace a file of the folder at once, readable by this user only."""
        target = self.path / name
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        return target

    def make_private_folder(self, path: Path, *, traverse: bool = False) -> Path:
        """Create a folder for this user only; ``traverse`` lets others pass through but not look.

        Raises:
            DataFolderUnusableError: it exists and belongs to someone else, or is a link.
        """
        with self._explained():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or (found.st_uid != os.geteuid() and not is_root()):
                raise DataFolderUnusableError(self.path, f"{path} belongs to someone else", "remove it")
            path.chmod(0o711 if traverse else 0o700)
        return path

    def open_run_folder(self) -> Path:
        """The folder for sockets, created; refused if someone else made one of that name."""
        run = self.run
        if run.parent != self.path and os.path.lexists(run) and run.lstat().st_uid != os.geteuid():
            raise DataFolderUnusableError(self.path, f"{run} belongs to someone else", "remove it or set TMPDIR")
        return self.make_private_folder(run, traverse=is_root())

    @property
    def _lock_file(self) -> Path:
        return self.path / "vecloom.lock"

    @property
    def _server_file(self) -> Path:
        return self.path / "server.json"

    @property
    def _secret_key_file(self) -> Path:
        return self.path / "secrets.key"

    @property
    def _format_file(self) -> Path:
        return self.path / "format"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the operating system refuses into an error that says what to do."""
        try:
            yield
        except OSError as error:
            raise DataFolderUnusableError(self.path, error.strerror or "not writable", _advise(error)) from error

    def _create(self) -> None:
        if self.path.exists() and not self._format_file.exists() and self._holds_other_files():
            advice = "choose an empty or a new folder with --data"
            raise DataFolderUnusableError(self.path, "it holds files of something else", advice)
        self.make_private_folder(self.path, traverse=is_root())
        for part in (self.logs, self.locks):
            self.make_private_folder(part)
        if shutil.disk_usage(self.path).free < MIN_FREE_BYTES:
            raise OSError(errno.ENOSPC, "the disk is full")

    def _holds_other_files(self) -> bool:
        ours = {self.logs.name, self.locks.name, *HARMLESS_LEFTOVERS}
        return any(entry.name not in ours and not entry.name.startswith(".format.") for entry in self.path.iterdir())

    def _sign(self, descriptor: int) -> None:
        command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n{command}\n".encode(), 0)

    def _describe_owner(self) -> str:
        with suppress(OSError, UnicodeDecodeError):
            pid, _, command = self._lock_file.read_text().strip().partition("\n")
            if pid:
                return f"process {pid} ({command})"
        return "another process"

    def _check_format(self) -> None:
        if not self._format_file.exists():
            self.write_private(self._format_file.name, f"{FORMAT}\n".encode())
        found = self._format_file.read_text().strip()
        if found != str(FORMAT):
            reason = f"it has format {found or 'unknown'}, this version reads {FORMAT}"
            raise DataFolderUnusableError(self.path, reason, "use the version of Vecloom that wrote it, or a newer one")


def _is_usable_for_sockets(folder: Path) -> bool:
    path = str(folder) + LONGEST_SOCKET_NAME
    return len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES and PLAIN_PATH.fullmatch(path) is not None


def _lock_within(descriptor: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def allow_traversal(path: Path) -> None:
    """Let other users pass through every parent of ``path`` (``o+x`` where missing, nothing else)."""
    for parent in path.parents:
        mode = stat.S_IMODE(parent.stat().st_mode)
        if not mode & TRAVERSE:
            parent.chmod(mode | TRAVERSE)
