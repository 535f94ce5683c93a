"""Gives the collections of the embedded vector server the indexes that they ask for."""

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Self

import orjson
import qdrant_edge as edge

from app.embedded.vector_errors import AnswerError, MissingCollectionError, StorageFullError, failing
from app.embedded.vector_journal import Journal, TooMuchWrittenError
from app.embedded.vector_shard import FIRST, Shard
from app.embedded.vector_shards import Shards

log = logging.getLogger(__name__)

QUIET_SECONDS = 1.0
"""A collection is rebuilt once nobody has written to it for so long: what comes later is not indexed."""
ROUNDS = 5
"""How often what was written meanwhile is added before everybody waits until the rest of it is."""

FAILED = "the index could not be built; the log of the vector server has the reason"


class Rebuilds:
    """Rebuilds collections one at a time, in a thread, while they are read and written as always.

    A rebuild works on a copy, which takes the place of the collection's shard in one step: a crash leaves the one or
    the other.
    """

    def __init__(self, shards: Shards, *, give_way: Callable[[], None]) -> None:
        self._shards = shards
        self._give_way = give_way
        self._stopped = threading.Event()
        self._current: Shard | None = None
        self._thread = threading.Thread(target=self._run, name="rebuilds", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give up what is under way; the next start begins it again."""
        self._stopped.set()
        if (current := self._current) is not None:
            current.stop_child()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(QUIET_SECONDS):
            for shard in self._shards.shards:
                self._look_at(shard)

    def _look_at(self, shard: Shard) -> None:
        try:
            if shard.is_quiet() and shard.needs_rebuild() and not self._stopped.is_set():
                self._current = shard
                self._rebuild(shard)
        except (MissingCollectionError, TooMuchWrittenError):
            return  # dropped meanwhile, or written to more than can be kept
        except (AnswerError, OSError) as error:
            if not self._stopped.is_set():
                log.exception("vector_rebuild_failed")
                shard.failure = str(error) if isinstance(error, StorageFullError) else FAILED
        finally:
            self._current = None

    def _rebuild(self, shard: Shard) -> None:
        description = shard.description
        folder = shard.folder / f"{FIRST}-{os.urandom(4).hex()}"
        command = [sys.executable, "-m", "app.embedded.vector_rebuild", str(folder), str(os.getpid())]
        with shard.rebuilding(folder) as journal:
            shard.run_child(command, given=orjson.dumps(description))
            with failing():
                engine = edge.EdgeShard.load(str(folder))
            try:
                self._catch_up(engine, journal)
                shard.replace(engine, used=folder, built=description)
            except BaseException:
                engine.close()
                raise

    def _catch_up(self, engine: edge.EdgeShard, journal: Journal) -> None:
        with failing():
            for _ in range(ROUNDS):
                for operation in journal.take():
                    self._give_way()
                    engine.update(operation)
