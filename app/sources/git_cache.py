"""Repositories as far as they were fetched, kept from one run to the next while this process lives."""

import asyncio
import os
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

KEPT = 8
"""Repositories that nobody reads now; the others are removed, those first that were read longest ago."""


@dataclass(slots=True, kw_only=True, eq=False)
class Kept:
    """A repository of one source. Whoever writes to it holds ``writing``; one that ``is_broken`` is to be removed."""

    folder: Path
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    holders: int = 0
    is_broken: bool = False


class GitCache:
    """Folders below ``folder``, of at most half of ``max_bytes`` together beside those that are held.

    Half, so that what was kept leaves room for what is fetched next.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def hold(self, key: str) -> Kept:
        """The repository of a source, which may be empty; to be given back."""
        name = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        kept = self._kept.get(name)
        if kept is None:
            kept = self._kept[name] = Kept(folder=self._folder / name)
        self._kept.move_to_end(name)
        kept.holders += 1
        return kept

    async def give_back(self, kept: Kept) -> None:
        """Keep it, if there is room."""
        kept.holders -= 1
        sizes = await asyncio.to_thread(_measure, [one.folder for one in self._kept.values()])
        for folder in self._put_away(sizes):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _put_away(self, sizes: dict[Path, int]) -> list[Path]:
        """Those to remove, moved at once, so that whoever comes next finds their places empty."""
        away, number, total = [], 0, 0
        for name, kept in reversed(list(self._kept.items())):
            if kept.holders:
                continue
            number += 1
            total += sizes.get(kept.folder, 0)
            if kept.is_broken or number > KEPT or total > self._max_bytes // 2:
                del self._kept[name]
                target = self._folder / f"gone-{uuid4().hex}"
                with suppress(FileNotFoundError):
                    kept.folder.rename(target)
                away.append(target)
        return away


def _measure(folders: Sequence[Path]) -> dict[Path, int]:
    return {folder: folder_bytes(folder) for folder in folders}


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(f"{place}/{name}").st_size
    return total
