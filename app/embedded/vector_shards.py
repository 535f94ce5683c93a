"""Collections of the embedded vector server: one shard each, in a folder of its own."""

import fcntl
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

import orjson

from app.domain.errors import DataFolderBusyError
from app.embedded.vector_errors import EngineError, ExistingCollectionError, MissingCollectionError
from app.embedded.vector_files import require_room, sync_folder, write_whole
from app.embedded.vector_parameters import Description, write_config
from app.embedded.vector_shard import DESCRIPTION, FIRST, Shard, create_shard

log = logging.getLogger(__name__)


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
    def shards(self) -> list[Shard]:
        """All collections."""
        return list(self._shards.values())

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

    def create(self, name: str, description: Description) -> None:
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
                create_shard(building / FIRST, write_config(description))
                write_whole(building / DESCRIPTION, description)
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
        for shard in self.shards:
            try:
                shard.flush()
            except MissingCollectionError:
                continue  # dropped meanwhile
            except EngineError:
                log.exception("vector_flush_failed")

    def close(self) -> None:
        """Flush and close everything."""
        for shard in self.shards:
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


@contextmanager
def opened(folder: Path) -> Iterator[Shards]:
    """All collections of a folder, flushed and closed at the end."""
    shards = Shards(folder)
    try:
        yield shards
    finally:
        shards.close()
