"""Collections of the embedded vector server: one engine shard each, in a folder of its own."""

import fcntl
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import orjson
import qdrant_edge as edge

from app.domain.errors import DataFolderBusyError
from app.embedded.vector_errors import (
    AnswerError,
    EngineError,
    ExistingCollectionError,
    MissingCollectionError,
    StorageFullError,
)

log = logging.getLogger(__name__)

Result = TypeVar("Result")

WAL_OPTIONS = {"segment_capacity": 4 * 1024 * 1024, "segment_queue_len": 0, "retain_closed": 1}
"""Of the write-ahead log; the engine's own segments of 32 MiB are more than most collections hold."""

RESERVE_BYTES = 32 * 1024 * 1024
"""What must stay free after a write: the engine writes into mapped files, and where the disk has no page left for
one of them the kernel kills the process. It is more than everything one update allocates besides its points."""
GROWTH = 4
"""How many bytes a write takes at most for each byte of its request: log, vectors, texts, payload and their indexes."""


class Shard:
    """One collection, opened when it is first used. Writes go one by one; reads wait for nobody.

    Args:
        name: for messages.
        folder: holds ``collection.json`` (vectors as they were asked for) and the engine's ``shard``.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.description: dict[str, Any] = orjson.loads((folder / "collection.json").read_bytes())
        self._engine: edge.EdgeShard | None = None
        self._state = threading.Condition()
        self._opening = threading.Lock()
        self._writing = threading.Lock()
        self._users = 0
        self._closed = False
        self._dirty = False

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
            engine.update(operation)

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
            self._state.wait_for(lambda: self._users == 0)
            engine, self._engine = self._engine, None
        if engine is None:
            return
        try:
            if self._dirty:
                engine.flush()
            engine.close()
        except Exception as error:  # the engine raises nothing more exact
            raise EngineError(error) from error

    @contextmanager
    def _in_use(self) -> Iterator[edge.EdgeShard]:
        with self._state:
            if self._closed:
                raise MissingCollectionError(self.name)
            self._users += 1
        try:
            yield self._open()
        except AnswerError:
            raise
        except Exception as error:  # the engine raises nothing more exact
            raise EngineError(error) from error
        finally:
            with self._state:
                self._users -= 1
                self._state.notify_all()

    def _open(self) -> edge.EdgeShard:
        with self._opening:
            if self._engine is None:
                self._engine = edge.EdgeShard.load(str(self.folder / "shard"))
            return self._engine


class Shards:
    """All collections and aliases of a data folder, which one process may open.

    Raises:
        DataFolderBusyError: another process has it open.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise DataFolderBusyError(folder, "another vector server") from error
        self._changing = threading.Lock()
        self._collections = folder / "collections"
        self._collections.mkdir(exist_ok=True)
        self._shards: dict[str, Shard] = {}
        for path in sorted(self._collections.iterdir()):
            if path.name.startswith("."):
                shutil.rmtree(path)
            else:
                name = unquote(path.name)
                self._shards[name] = Shard(name, path)
        self._aliases_file = folder / "aliases.json"
        self._aliases: dict[str, str] = {}
        if self._aliases_file.exists():
            stored = orjson.loads(self._aliases_file.read_bytes())
            self._aliases = {alias: to for alias, to in stored.items() if to in self._shards}

    @property
    def names(self) -> list[str]:
        """Names of all collections."""
        return sorted(self._shards)

    @property
    def aliases(self) -> Mapping[str, str]:
        """Collection name by alias."""
        return self._aliases

    def get(self, name: str) -> Shard:
        """A collection by its name or an alias.

        Raises:
            MissingCollectionError: there is neither.
        """
        shard = self._shards.get(self._aliases.get(name, name))
        if shard is None:
            raise MissingCollectionError(name)
        return shard

    def create(self, name: str, config: edge.EdgeConfig, description: Mapping[str, Any]) -> None:
        """Build a collection in a hidden folder, then name it: a crash leaves all of it or none.

        Raises:
            ExistingCollectionError: the name is taken.
            StorageFullError: there may not be room for it.
        """
        with self._changing:
            if name in self._shards or name in self._aliases:
                raise ExistingCollectionError(name)
            require_room(self._collections, 0)
            folder = self._collections / quote(name, safe="").replace(".", "%2E")
            building = self._hidden_folder()
            try:
                create_shard(building / "shard", config)
                write_whole(building / "collection.json", description)
                building.rename(folder)
            except BaseException:
                shutil.rmtree(building, ignore_errors=True)
                raise
            sync_folder(self._collections)
            self._shards[name] = Shard(name, folder)

    def drop(self, name: str) -> bool:
        """Delete a collection and its aliases; False if there was none."""
        with self._changing:
            shard = self._shards.pop(name, None)
            if shard is None:
                return False
            shard.close()
            hidden = self._hidden_folder()
            shard.folder.rename(hidden)
            self._save_aliases({alias: to for alias, to in self._aliases.items() if to != name})
        shutil.rmtree(hidden)
        return True

    def change_aliases(self, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """Replace all aliases by what ``change`` makes of a copy of them.

        Raises:
            MissingCollectionError: an alias would name no collection.
            ExistingCollectionError: an alias would hide a collection.
        """
        with self._changing:
            aliases = change(dict(self._aliases))
            for alias, to in aliases.items():
                if to not in self._shards:
                    raise MissingCollectionError(to)
                if alias in self._shards:
                    raise ExistingCollectionError(alias)
            self._save_aliases(aliases)

    def flush(self) -> None:
        """Flush every collection that was written to; one that cannot be is logged and keeps its log."""
        for shard in list(self._shards.values()):
            try:
                shard.flush()
            except MissingCollectionError:
                continue  # dropped meanwhile
            except EngineError:
                log.exception("vector_flush_failed")

    def close(self) -> None:
        """Flush and close everything."""
        for shard in self._shards.values():
            try:
                shard.close()
            except EngineError:
                log.exception("vector_close_failed")
        os.close(self._lock)

    def _hidden_folder(self) -> Path:
        """A path that no collection can have, emptied when the server starts."""
        return self._collections / f".{os.urandom(8).hex()}"

    def _save_aliases(self, aliases: dict[str, str]) -> None:
        if aliases != self._aliases:
            write_whole(self._aliases_file, aliases)
            self._aliases = aliases


def require_room(folder: Path, size: int) -> None:
    """Refuse to write ``size`` bytes where they may not fit.

    Raises:
        StorageFullError: less than the reserve would stay free.
    """
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < RESERVE_BYTES + size:
        raise StorageFullError


def create_shard(path: Path, config: edge.EdgeConfig) -> None:
    """Create the engine's files, with a small write-ahead log."""
    path.mkdir(parents=True)
    edge.EdgeShard.create(str(path), config).close()
    # the engine reads these options from its file but has no argument for them; the log is still empty
    settings = orjson.loads((path / "edge_config.json").read_bytes())
    write_whole(path / "edge_config.json", {**settings, "wal_options": WAL_OPTIONS})
    shutil.rmtree(path / "wal")
    edge.EdgeShard.load(str(path)).close()


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


@contextmanager
def opened(folder: Path) -> Iterator[Shards]:
    """All collections of a folder, flushed and closed at the end."""
    shards = Shards(folder)
    try:
        yield shards
    finally:
        shards.close()
