"""Numba, with what it compiles kept for the processes after this one."""

import os
from collections.abc import Callable
from typing import Any

from app.projection.compiled_folder import find_cache_folder, find_level

__all__ = ["compiled", "count_compilations", "keep_compiled", "numba", "set_threads"]

# before numba is imported, for it reads these once; code that fits every processor of a level can be shipped
os.environ.setdefault("NUMBA_CACHE_DIR", str(find_cache_folder()))
os.environ.setdefault("NUMBA_CPU_NAME", find_level())
os.environ.setdefault("NUMBA_CPU_FEATURES", "")
# before there are threads: one that waits would else take the time of the one it waits for, on a busy machine
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numba

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
        dispatcher = numba.njit(cache=True, parallel=parallel, fastmath=fastmath, error_model="numpy")(function)
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
