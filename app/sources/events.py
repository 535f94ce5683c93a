"""Tells when something below a folder has changed, by the file system's own events."""

import asyncio
import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from watchfiles import watch

from app.sources.gitignore import NAME, GitignoreError, Gitignores, read_local
from app.sources.walk import JUNK_FOLDERS

log = structlog.get_logger(__name__)

QUIET_MILLISECONDS = 200
"""A change is told once nothing has happened for so long,"""

MOST_MILLISECONDS = 1000
"""or so much time has gone by."""

LOOK_MILLISECONDS = 500
"""How often to look whether the folder is still the same one."""

POLL_MILLISECONDS = 1000
"""Between two looks at all files, where the system gives no events or not enough of them."""

Identity = tuple[int, int]


class FolderEvents:
    """Whether a folder or file has changed since ``clear`` was called.

    A thread follows it, for adding a large folder to the system's watch takes long. Files that no scan would read are
    left out: hidden ones, those of dependencies, and everything below ``ignored``. If the folder goes away it is
    waited for, and another one at its place is a change. A change of a ``.gitignore`` is always told.

    Attributes:
        gitignore: set it where a scan honours ``.gitignore`` files: what they leave out is passed over then.

    Args:
        polls: look at all files again and again; it comes to that by itself where the system gives no events.
    """

    def __init__(self, root: Path, *, ignored: Sequence[Path] = (), polls: bool = False) -> None:
        self._root = root
        self._folder = root if root.is_dir() else root.parent
        self._ignored = [str(path) for path in ignored] + [os.path.realpath(path) for path in ignored]
        self._changed = asyncio.Event()
        self._ready = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="folder-events", daemon=True)
        self._polls = polls
        self.gitignore = False

    async def __aenter__(self) -> Self:
        """Return when no further change will be missed."""
        self._thread.start()
        await self._ready.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join)

    def touch(self) -> None:
        """Say that something has changed."""
        self._changed.set()

    def clear(self) -> None:
        """Forget the changes of before."""
        self._changed.clear()

    @property
    def changed(self) -> bool:
        """Whether something has changed since the last ``clear``."""
        return self._changed.is_set()

    async def wait(self) -> None:
        """Return when something has changed since the last ``clear``."""
        await self._changed.wait()

    async def is_gone(self) -> bool:
        """Whether the folder is not there now."""
        return await asyncio.to_thread(self._identify) is None

    # --- in the thread --------------------------------------------------------------------------

    def _follow(self) -> None:
        while not self._stop.is_set():
            identity = self._identify()
            if identity is None:
                self._tell(self._ready)
                self._stop.wait(LOOK_MILLISECONDS / 1000)
                continue
            try:
                self._follow_while_it_is(identity)
            except (OSError, RuntimeError) as error:
                # as when the system's limit of watches is reached; gone in between, it is looked for again
                if self._identify() == identity:
                    log.warning("folder_events_unavailable", error=type(error).__name__, note="polling instead")
                    self._polls = True
                self._stop.wait(LOOK_MILLISECONDS / 1000)

    def _follow_while_it_is(self, identity: Identity) -> None:
        """Tell changes until another folder, or none, is at its place."""
        is_new, is_unsure = self._ready.is_set(), False
        for changes in watch(
            self._folder,
            watch_filter=None,
            step=QUIET_MILLISECONDS,
            debounce=MOST_MILLISECONDS,
            rust_timeout=LOOK_MILLISECONDS,
            yield_on_timeout=True,
            stop_event=self._stop,
            raise_interrupt=False,
            recursive=self._folder == self._root,
            ignore_permission_denied=True,
            force_polling=self._polls or None,
            poll_delay_ms=POLL_MILLISECONDS,
        ):
            self._tell(self._ready)
            # whatever happened before it was watched anew is a change too
            has_changed = is_new or self._any_matters({path for _, path in changes})
            if has_changed or is_unsure:
                self._tell(self._changed)
            # polling sees whole seconds: what came later in the same one is only seen by another look
            is_new, is_unsure = False, has_changed and self._polls
            if self._identify() != identity:
                return

    def _any_matters(self, paths: set[str]) -> bool:
        left = [path for path in paths if self._matters(path)]
        if not self.gitignore or self._folder != self._root:
            return bool(left)
        # read anew, for they may have changed with the others
        ignores = Gitignores(read_local(str(self._root).rstrip("/")))
        try:
            return any(not self._is_left_out(ignores, os.path.relpath(path, self._root)) for path in sorted(left))
        except GitignoreError:
            return True

    def _matters(self, path: str) -> bool:
        if self._folder != self._root:
            return path == str(self._root)
        if any(path == folder or path.startswith(f"{folder}{os.sep}") for folder in self._ignored):
            return False
        *folders, name = Path(os.path.relpath(path, self._root)).parts or ("",)
        parts = folders if name == NAME else [*folders, name]
        return not any(part.startswith(".") or part in JUNK_FOLDERS for part in parts)

    def _is_left_out(self, ignores: Gitignores, relative: str) -> bool:
        """Whether ``.gitignore`` files leave out a path, or a folder above it, whatever it was if it is gone."""
        folder = ""
        for part in Path(relative).parts:
            if part == NAME:
                return False
            ignores.enter(folder)
            here = f"{folder}{part}"
            if all(ignores.ignores(here, is_folder=kind) for kind in self._kinds_of(here)):
                return True
            folder = f"{here}/"
        return False

    def _kinds_of(self, relative: str) -> tuple[bool, ...]:
        """Whether there is a folder; both if nobody can say."""
        try:
            return (stat.S_ISDIR((self._root / relative).lstat().st_mode),)
        except OSError:
            return (True, False)

    def _identify(self) -> Identity | None:
        try:
            status = self._folder.stat()
            if self._folder != self._root:
                self._root.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _tell(self, event: asyncio.Event) -> None:
        self._loop.call_soon_threadsafe(event.set)
