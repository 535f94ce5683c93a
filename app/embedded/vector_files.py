"""Files of the embedded vector server that survive a loss of power."""

import os
from pathlib import Path
from typing import Any

import orjson

from app.embedded.vector_errors import StorageFullError

RESERVE_BYTES = 32 * 1024 * 1024
"""What must stay free after a write: the engine writes into mapped files, and where the disk has no page left for
one of them the kernel kills the process. It is more than everything one update allocates besides its points."""


def require_room(folder: Path, size: int) -> None:
    """Refuse to write ``size`` bytes where they may not fit.

    Raises:
        StorageFullError: less than the reserve would stay free.
    """
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < RESERVE_BYTES + size:
        raise StorageFullError


def write_whole(path: Path, value: Any) -> None:
    """Replace a JSON file in one step that survives a loss of power."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(orjson.dumps(value))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Make a folder with everything in it durable."""
    for parent, _folders, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(parent))


def measure_tree(folder: Path) -> int:
    """How many bytes of the disk a folder takes."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
