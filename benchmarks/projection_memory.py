"""Memory that a worker, its children and the servers hold while a map is drawn."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count

import psutil

from benchmarks.systems import Figures

SAMPLE_SECONDS = 0.5
SERVERS_EVERY = 10
"""Looks: adding up what a large process has mapped takes long, and holds it up."""
WORKER, LAYOUT, OTHERS = "worker", "layout_child", "other_children"
LAYOUT_MARK = "app.projection."
"""What the child that lays maps out loads first, as its command says."""


class MemoryWatch:
    """Private memory (USS), and a fair share of what is shared with others or mapped from files (PSS), of groups.

    Files that a process has mapped count in PSS as far as they are in memory now; the system takes that back when
    somebody else needs it. USS counts them too, while nobody else has them mapped: so ``anonymous`` is what is left
    without any file, and cannot be taken back.
    """

    def __init__(self, worker: int, servers: Mapping[str, int | None]) -> None:
        self._worker = psutil.Process(worker)
        self._servers = {name: psutil.Process(pid) for name, pid in servers.items() if pid is not None}
        self._peaks: dict[str, int] = defaultdict(int)
        self._turn = count()

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.to_thread(self._look)
            await asyncio.sleep(SAMPLE_SECONDS)

    def describe(self) -> Figures:
        """Peaks in MiB."""
        return {f"{name}_peak_mib": round(peak / 2**20, 1) for name, peak in sorted(self._peaks.items())}

    def _look(self) -> None:
        now: dict[str, int] = defaultdict(int)
        for group, process in self._list():
            with suppress(psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
                held = process.memory_full_info()
                now[f"{group}_rss"] += held.rss
                now[f"{group}_pss"] += held.pss
                now[f"{group}_anonymous"] += held.rss - held.shared
                if group in {WORKER, LAYOUT, OTHERS}:
                    now["all_pss"] += held.pss
                    now["all_anonymous"] += held.rss - held.shared
        for name, size in now.items():
            self._peaks[name] = max(self._peaks[name], size)

    def _list(self) -> Iterator[tuple[str, psutil.Process]]:
        with suppress(psutil.NoSuchProcess):
            yield WORKER, self._worker
            for child in self._worker.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    yield (LAYOUT if LAYOUT_MARK in " ".join(child.cmdline()) else OTHERS), child
        for name, server in self._servers.items() if next(self._turn) % SERVERS_EVERY == 0 else ():
            with suppress(psutil.NoSuchProcess):
                yield from ((name, one) for one in (server, *server.children(recursive=True)))
