"""The folder that holds what people have sent. Which file is whose only the rows know."""

import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

from app.domain.uploads import UploadBusyError, UploadDiskFullError, UploadNotFoundError
from app.sources.archives import SUFFIXES
from app.sources.directory import RECORD_SUFFIXES

NAME = re.compile(r"[0-9a-f]+/[0-9a-f]{2}/[0-9a-f]{32}(\.[a-z0-9.]{2,8})?")
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
TO_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def storage_name(marker: str, upload_id: UUID, path: str) -> str:
    """Name of a new file: whose installation's it is, of which upload, and how to look into it if one can."""
    lower = path.lower()
    suffix = next((known for known in (*SUFFIXES, *RECORD_SUFFIXES) if lower.endswith(known)), "")
    return f"{marker}/{upload_id.hex[:2]}/{upload_id.hex}{suffix}"


@contextmanager
def explained() -> Iterator[None]:
    """Raises UploadDiskFullError where the system says that there is no room."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise UploadDiskFullError from error
        raise


class UploadWriter:
    """A file that bytes are added to. Nobody else can do that meanwhile, in whatever process."""

    def __init__(self, descriptor: int, *, offset: int) -> None:
        self._descriptor = descriptor
        self.offset = offset

    def write(self, content: bytes) -> None:
        """Add bytes; they are safe after ``sync`` only."""
        view = memoryview(content)
        with explained():
            while view:
                written = os.write(self._descriptor, view)
                view = view[written:]
                self.offset += written

    def sync(self) -> None:
        """Have the disk keep what was written."""
        with explained():
            os.fsync(self._descriptor)

    def cut(self, offset: int) -> None:
        """Forget what was written behind ``offset``."""
        os.ftruncate(self._descriptor, offset)
        os.lseek(self._descriptor, offset, os.SEEK_SET)
        self.offset = offset

    def close(self) -> None:
        """Let others write."""
        os.close(self._descriptor)


class UploadFolder:
    """Every method may wait for the disk: call it in a thread.

    Args:
        root: the folder; on several machines the same one, under whatever path.
        free_bytes: what is to stay free on its disk.
    """

    def __init__(self, root: Path, *, free_bytes: int) -> None:
        self._root = root
        self._free_bytes = free_bytes

    def path_of(self, name: str) -> Path:
        """Where a file lies."""
        if NAME.fullmatch(name) is None:
            raise ValueError(f"no name of an upload: {name!r}")
        return self._root / name

    def holds(self, name: str) -> bool:
        """Whether this is the folder that a file of this name would be in, and not an empty mount point."""
        return self.path_of(name).parent.parent.is_dir()

    def require_room(self, size: int = 0) -> None:
        """Raises UploadDiskFullError if so many bytes would leave less free than has to be."""
        place = self._root
        while not place.exists():
            place = place.parent
        if shutil.disk_usage(place).free - size < self._free_bytes:
            raise UploadDiskFullError

    def create(self, name: str) -> UploadWriter:
        """A new file, which is there after a crash too."""
        path = self.path_of(name)
        with explained():
            made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
            path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            descriptor = os.open(path, TO_WRITE | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for folder in {path.parent, *(folder.parent for folder in made)}:
                _sync_folder(folder)
        return UploadWriter(descriptor, offset=0)

    def reopen(self, name: str, upload_id: UUID) -> UploadWriter:
        """The file of an unfinished upload, which nobody else can write to now; ``cut`` it to what is known of it.

        Raises:
            UploadBusyError: if somebody else is writing to it.
            UploadNotFoundError: if it is gone.
        """
        try:
            descriptor = os.open(self.path_of(name), TO_WRITE)
        except FileNotFoundError:
            raise UploadNotFoundError(upload_id) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UploadBusyError(upload_id) from None
        return UploadWriter(descriptor, offset=os.fstat(descriptor).st_size)

    def digest(self, name: str) -> bytes:
        """The sha256 of a whole file."""
        with self.path_of(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def remove(self, name: str) -> None:
        """Nothing happens if it is gone."""
        self.path_of(name).unlink(missing_ok=True)

    def list_names(self, marker: str) -> Iterator[str]:
        """Names of all files of one installation."""
        with suppress(FileNotFoundError):
            for shelf in sorted((self._root / marker).iterdir()):
                for file in sorted(shelf.iterdir()) if shelf.is_dir() else ():
                    name = f"{marker}/{shelf.name}/{file.name}"
                    if NAME.fullmatch(name) is not None:
                        yield name


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
