"""The folder that fetched documents lie in while they are read: a process's own, and gone with it."""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

PREFIX = "vecloom-spool-"
LOCK = "lock"


@asynccontextmanager
async def open_spool(parent: Path | None = None) -> AsyncIterator[Path]:
    """A private folder below ``parent`` (the system's temporary folder), removed at the end.

    What processes have left behind that were killed is removed first: a living one holds a lock on its folder.
    """
    above = parent or Path(tempfile.gettempdir())
    folder, lock = await asyncio.to_thread(_make, above)
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        os.close(lock)


def _make(above: Path) -> tuple[Path, int]:
    above.mkdir(parents=True, exist_ok=True)
    for left in above.glob(f"{PREFIX}*"):
        _remove_if_dead(left)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=above))
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return folder, lock
        # another process that starts now took it for a dead one's before it was locked
        os.close(lock)


def _remove_if_dead(folder: Path) -> None:
    """One without a lock file is being made now; somebody else's cannot be opened."""
    with suppress(OSError):
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
