"""Where compiled code is kept, and whether all of it is there; for those who have not imported numba."""

import hashlib
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

if sys.platform != "win32":
    import fcntl

LEVEL = "x86-64-v3"
NEEDS = frozenset(("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"))
"""What a processor of that level says it has, as Linux names it."""
PACKAGES = ("numba", "llvmlite", "umap-learn", "pynndescent", "numpy")


@cache
def find_level() -> str:
    """The kind of processor that is compiled for: ``NUMBA_CPU_NAME``, or the widest of two that this one is."""
    if given := os.environ.get("NUMBA_CPU_NAME"):
        return given
    if platform.machine() not in {"x86_64", "AMD64"}:
        return "generic"
    with suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("flags"):
                return LEVEL if set(line.split()) >= NEEDS else "generic"
    return "generic"


def find_cache_folder() -> Path:
    """A folder that only we can write: ``NUMBA_CACHE_DIR``, else by versions in the user's cache or a temporary one.

    Numba unpickles what it finds there, so a folder of somebody else is never taken.
    """
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 — no home must not raise
    for above in (Path(home) / "vecloom", Path(tempfile.gettempdir()) / f"vecloom-{os.getuid()}"):
        folder = above / _name_versions()
        if _is_ours(above) and _is_ours(folder):
            return folder
    return _make_temporary()


@cache
def _make_temporary() -> Path:
    """One for this process and its children, where nothing can be kept for others."""
    folder = tempfile.mkdtemp(prefix="vecloom-compiled-")
    os.environ["NUMBA_CACHE_DIR"] = folder
    return Path(folder)


def _name_versions() -> str:
    level = "".join(each if each.isalnum() or each == "-" else "_" for each in find_level())
    return "-".join([level, "py{}.{}".format(*sys.version_info), *(f"{name}{version(name)}" for name in PACKAGES)])


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
        and os.access(folder, os.W_OK | os.X_OK)
    )


def _find_mark(folder: Path) -> Path:
    """A file whose name says of which code: numba keeps what it compiles by a file's path and content."""
    here = Path(__file__).parent
    told = hashlib.sha256(f"{here} {_name_versions()}".encode())
    for source in sorted(here.glob("*.py")):
        told.update(source.name.encode() + source.read_bytes())
    return folder / f"{told.hexdigest()[:16]}.compiled"


def is_compiled() -> bool:
    """Whether somebody has compiled everything that layouts need, as it is now."""
    return _find_mark(find_cache_folder()).exists()


def mark_compiled() -> None:
    """Say so; where that cannot be written, the next one looks again."""
    with suppress(OSError):
        _find_mark(find_cache_folder()).touch()


@contextmanager
def compiling() -> Iterator[bool]:
    """Whether nobody else compiles into the folder; the next one may as soon as this process ends."""
    folder = find_cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "compiling.lock").open("w")
    except OSError:
        yield True  # a folder that cannot be written keeps nothing, and is not ours to say so
        return
    with lock:
        yield _is_first(lock.fileno())


def _is_first(lock: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
