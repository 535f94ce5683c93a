"""Numba, with what it compiles kept for the processes after this one."""

import os
import stat
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["compiled", "count_compilations", "find_cache_folder", "keep_compiled", "numba", "set_threads"]

PACKAGES = ("numba", "llvmlite", "umap-learn", "pynndescent", "numpy")


def find_cache_folder() -> Path:
    """A folder that only we can write, for these versions: ``NUMBA_CACHE_DIR``, the user's cache, or a temporary one.

    Numba unpickles what it finds there, so a folder of somebody else is never taken.
    """
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(given)
    kind = "-".join(["py{}.{}".format(*sys.version_info), *(f"{name}{version(name)}" for name in PACKAGES)])
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 — no home must not raise
    for above in (Path(home) / "vecloom", Path(tempfile.gettempdir()) / f"vecloom-{os.getuid()}"):
        folder = above / kind
        if _is_ours(above) and _is_ours(folder):
            return folder
    return Path(tempfile.mkdtemp(prefix="vecloom-compiled-"))


def _is_ours(folder: Path) -> bool:
    """Make a folder if it is not there, and look whether nobody else can write it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.lstat()
    except OSError:
        return False
    others = stat.S_IWGRP | stat.S_IWOTH
    return (
        stat.S_ISDIR(about.st_mode)
        and about.st_uid == os.getuid()
        and not about.st_mode & others
        and _can_write(folder)
    )


def _can_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


# before numba is imported, for it reads these once; code that fits every processor can be shipped with an image
os.environ.setdefault("NUMBA_CACHE_DIR", str(find_cache_folder()))
os.environ.setdefault("NUMBA_CPU_NAME", "generic")
os.environ.setdefault("NUMBA_CPU_FEATURES", "")

import numba  # noqa: E402 — see above

# where somebody imported it before us
numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]  # type: ignore[attr-defined] # it has no types of its settings

_own: list[Any] = []


def compiled(*, parallel: bool = False, any_order: bool = False) -> Callable[[Any], Any]:
    """A function that is compiled when it is called first, and kept.

    Args:
        parallel: loops over ``numba.prange`` run on all threads.
        any_order: sums may be taken in the order that is fastest, which is the same every time.
    """
    fastmath = {"contract", "arcp", "nsz"} | ({"reassoc"} if any_order else set())

    def wrap(function: Any) -> Any:  # noqa: ANN401 — numba's own type says nothing
        dispatcher = numba.njit(cache=True, parallel=parallel, fastmath=fastmath)(function)
        _own.append(dispatcher)
        return dispatcher

    return wrap


def keep_compiled(dispatchers: list[Any]) -> None:
    """Keep what is compiled of functions of a library, which does not mark them so."""
    for dispatcher in dispatchers:
        dispatcher.enable_caching()
    _own.extend(dispatchers)


def set_threads(most: int) -> None:
    """How many threads compiled loops take, of those that there are."""
    numba.set_num_threads(min(most, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined] # see above


def count_compilations() -> int:
    """How many functions this process had to compile so far, for they were not kept."""
    return sum(sum(dispatcher.stats.cache_misses.values()) for dispatcher in _own)
