"""Compressed copies of files, for those who take them so."""

import gzip
import shutil
from collections.abc import Collection
from pathlib import Path

SUFFIXES = frozenset({".html", ".json", ".u8", ".npy", ".f32"})
LEAST_BYTES = 1024
WORTH = 0.9
"""A copy that is hardly smaller is not kept."""
COPY = ".gz"


def compress_files(folder: str, *, leave: Collection[str] = ()) -> None:
    """Put a copy beside each file that gets smaller by it; not of those that nobody will take."""
    for path in sorted(Path(folder).iterdir()):
        size = path.stat().st_size
        if path.suffix not in SUFFIXES or size < LEAST_BYTES or path.name in leave:
            continue
        copy = path.with_name(path.name + COPY)
        with path.open("rb") as read, gzip.GzipFile(copy, "wb", compresslevel=6, mtime=0) as write:
            shutil.copyfileobj(read, write, 1024 * 1024)
        if copy.stat().st_size > WORTH * size:
            copy.unlink()
