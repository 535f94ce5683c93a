"""One collection of the embedded vector server: a shard of the engine, whose place another one may take."""

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import orjson
import qdrant_edge as edge

from app.embedded.vector_errors import EngineError, MissingCollectionError, failing
from app.embedded.vector_files import measure_tree, require_room, write_whole
from app.embedded.vector_journal import Journal
from app.embedded.vector_parameters import INDEXED_KILOBYTES, Description, count_indexable

Result = TypeVar("Result")

DESCRIPTION = "collection.json"
FIRST = "shard"
"""Folder of the engine's files; others that took its place have names that begin with it."""

WAL_OPTIONS = {"segment_capacity": 4 * 1024 * 1024, "segment_queue_len": 0, "retain_closed": 1}
"""Of the write-ahead log; the engine's own segments of 32 MiB are more than most collections hold."""

GROWTH = 4
"""How many bytes a write takes at most for each byte of its request: log, vectors, texts, payload and their indexes."""
COPIES = 2
"""How many times a shard's size it takes to build another one in its place: the copy, and what is made of it."""


class Shard:
    """One collection, opened when it is first used. Writes go one by one; reads wait for nobody.

    Args:
        name: for messages.
        folder: holds ``collection.json`` and the engine's files. The file has the description, and beside it which
            folder is in use and whether that was made for an earlier description.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        stored: dict[str, Any] = orjson.loads((folder / DESCRIPTION).read_bytes())
        self._used: str = stored.pop("shard", FIRST)
        self._is_stale: bool = stored.pop("is_stale", False)
        self.description: Description = stored
        self.failure: str | None = None
        self.is_rebuilding = False
        self._engine: edge.EdgeShard | None = None
        self._state = threading.Condition()
        self._opening = threading.Lock()
        self._writing = threading.Lock()
        self._describing = threading.Lock()
        self._rebuilding = threading.Lock()
        self._journal: Journal | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._users = 0
        self._closed = self._is_stopped = False
        self._replacing = False
        self._dirty = False
        self._writes = self._writes_seen = 0
        self._rebuilt_at: tuple[int, int] | None = None
        for path in folder.glob(f"{FIRST}*"):
            if path.name != self._used:  # a rebuild was interrupted
                shutil.rmtree(path, ignore_errors=True)

    def read(self, call: Callable[[edge.EdgeShard], Result]) -> Result:
        """Ask the engine something."""
        with self._in_use() as engine:
            return call(engine)

    def write(self, operation: edge.UpdateOperation, *, size: int = 0) -> None:
        """Apply an update of ``size`` bytes; it is in the write-ahead log and searchable when this returns.

        Raises:
            StorageFullError: there may not be room for it; nothing was written.
        """
        with self._in_use() as engine, self._writing:
            require_room(self.folder, GROWTH * size)
            self._dirty = True
            self._writes += 1
            engine.update(operation)
            if self._journal is not None:
                self._journal.add(operation, size=size)

    def flush(self) -> None:
        """Write everything to its place, so that the write-ahead log can be cut."""
        if not self._dirty:
            return
        with self._in_use() as engine, self._writing:
            engine.flush()
            self._dirty = False

    def close(self) -> None:
        """Refuse new calls, wait for the running ones, release the files. A second time does nothing."""
        with self._state:
            self._closed = True
        self.stop_child()
        with self._rebuilding, self._state:
            self._state.wait_for(lambda: self._users == 0)
            engine, self._engine = self._engine, None
        if engine is None:
            return
        with failing():
            if self._dirty:
                engine.flush()
            engine.close()

    # --- another shard in its place -------------------------------------------------------------

    def change(self, change: Callable[[Description], Description]) -> None:
        """Describe it anew. What it is like follows when it is rebuilt, a moment later.

        Raises:
            StorageFullError: there may not be room to rebuild it.
        """
        with self._in_use(), self._describing:
            description = change(self.description)
            if description == self.description and self.failure is None:
                return
            require_room(self.folder, COPIES * measure_tree(self.folder / self._used))
            self._save(description, used=self._used, is_stale=True)
            self.failure = None

    def is_quiet(self) -> bool:
        """Whether nobody has written since this was last asked."""
        seen, self._writes_seen = self._writes_seen, self._writes
        return seen == self._writes

    def needs_rebuild(self) -> bool:
        """Whether it is not as it is described, or many of its vectors are not indexed as they should be."""
        if self.failure is not None:
            return False
        if self._is_stale:
            return True
        if not count_indexable(self.description, INDEXED_KILOBYTES * 1024):
            return False
        points, indexed = self.read(_measure)
        # the engine counts sparse vectors as indexed, always
        missing = points * (len(self.description["vectors"]) + len(self.description["sparse_vectors"])) - indexed
        enough = count_indexable(self.description, missing) >= INDEXED_KILOBYTES
        return enough and (points, indexed) != self._rebuilt_at

    @contextmanager
    def rebuilding(self, to: Path) -> Iterator[Journal]:
        """While the block makes another shard of the copy ``to``, what is written is also in the journal.

        The copy goes if the block fails.
        """
        with self._rebuilding:
            try:
                self.is_rebuilding = True
                with self._in_use() as engine, self._writing:
                    require_room(self.folder, COPIES * measure_tree(self.folder / self._used))
                    engine.flush()
                    shutil.copytree(self.folder / self._used, to)
                    self._journal = journal = Journal()
                yield journal
            except BaseException:
                shutil.rmtree(to, ignore_errors=True)
                raise
            finally:
                self._journal = None
                self.is_rebuilding = False

    def run_child(self, command: Sequence[str], *, given: bytes) -> None:
        """Run a program to its end.

        Raises:
            EngineError: it failed, or was stopped.
        """
        with self._state:
            self._require_open()
            if self._is_stopped:
                raise MissingCollectionError(self.name)
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 — a program of our own
        self._child.communicate(given)
        if self._child.returncode != 0:
            raise EngineError(ChildProcessError(f"it ended with {self._child.returncode}"))

    def stop_child(self) -> None:
        """End the program that runs for it, if there is one, and let none begin."""
        with self._state:
            self._is_stopped = True
            if self._child is not None:
                self._child.kill()

    def replace(self, engine: edge.EdgeShard, *, used: Path, built: Description) -> None:
        """Let an engine on the folder ``used`` take over, once it has what is left of the journal.

        It was made for the description ``built``; the collection may have been described anew since.
        """
        with self._alone(), failing():
            for operation in self._journal.take() if self._journal is not None else []:
                engine.update(operation)
            engine.flush()
            self._rebuilt_at = _measure(engine)
            left = self.folder / self._used
            self._save(self.description, used=used.name, is_stale=self.description != built)
            old, self._engine = self._engine, engine
            self._dirty = False
        with suppress(Exception):  # it is done with, whatever it says
            if old is not None:
                old.close()
        shutil.rmtree(left, ignore_errors=True)

    def _save(self, description: Description, *, used: str, is_stale: bool) -> None:
        beside = {"shard": used, "is_stale": is_stale}
        write_whole(self.folder / DESCRIPTION, {**description, **beside})
        self.description, self._used, self._is_stale = description, used, is_stale

    # --- who is in it ---------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._closed:
            raise MissingCollectionError(self.name)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody reads or writes while the block runs; they wait."""
        with self._state:
            self._require_open()
            self._replacing = True
            self._state.wait_for(lambda: self._users == 0)
        try:
            yield
        finally:
            with self._state:
                self._replacing = False
                self._state.notify_all()

    @contextmanager
    def _in_use(self) -> Iterator[edge.EdgeShard]:
        with self._state:
            self._state.wait_for(lambda: not self._replacing)
            self._require_open()
            self._users += 1
        try:
            with failing():
                yield self._open()
        finally:
            with self._state:
                self._users -= 1
                self._state.notify_all()

    def _open(self) -> edge.EdgeShard:
        with self._opening:
            if self._engine is None:
                self._engine = edge.EdgeShard.load(str(self.folder / self._used))
            return self._engine


def _measure(engine: edge.EdgeShard) -> tuple[int, int]:
    info = engine.info()
    return info.points_count, info.indexed_vectors_count


def create_shard(path: Path, config: edge.EdgeConfig) -> None:
    """Create the engine's files, with a small write-ahead log."""
    path.mkdir(parents=True)
    edge.EdgeShard.create(str(path), config).close()
    # the engine reads these options from its file but has no argument for them; the log is still empty
    settings = orjson.loads((path / "edge_config.json").read_bytes())
    write_whole(path / "edge_config.json", {**settings, "wal_options": WAL_OPTIONS})
    shutil.rmtree(path / "wal")
    edge.EdgeShard.load(str(path)).close()
