"""Collections of the embedded vector server: one engine shard and one lock each, under one folder."""

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import orjson
import qdrant_edge as edge

OPTIMIZE_FROM_POINTS = 100_000
DISTANCES = {"Cosine": edge.Distance.Cosine, "Dot": edge.Distance.Dot, "Euclid": edge.Distance.Euclid}


class MissingCollectionError(Exception):
    """No collection or alias of this name."""


class ExistingCollectionError(Exception):
    """A collection of this name exists."""


class Shard:
    """One collection. The engine takes one caller at a time for writes; reads wait for nobody else's read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: dict[str, Any] = orjson.loads((folder / "collection.json").read_bytes())
        self.engine = edge.EdgeShard.load(str(folder / "shard"))
        self.writing = threading.Lock()
        self.indexes: dict[str, str] = self.config.setdefault("indexes", {})

    def save(self) -> None:
        """Write the description, whole or not at all."""
        write_whole(self.folder / "collection.json", self.config)

    def add_index(self, field: str, schema: str) -> None:
        """Index a payload field; a second time does nothing."""
        with self.writing:
            if field not in self.indexes:
                kind = getattr(edge.PayloadSchemaType, schema.capitalize())
                self.engine.update(edge.UpdateOperation.create_field_index(field, kind))
                self.indexes[field] = schema
                self.save()


def write_whole(path: Path, value: Any) -> None:
    """Replace a JSON file in one step."""
    temporary = path.with_suffix(".new")
    temporary.write_bytes(orjson.dumps(value))
    temporary.replace(path)


class Shards:
    """All collections and aliases of a data folder, which one process may open."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._changing = threading.Lock()
        self._collections = folder / "collections"
        self._collections.mkdir(exist_ok=True)
        self._aliases_file = folder / "aliases.json"
        self.aliases: dict[str, str] = {}
        if self._aliases_file.exists():
            self.aliases = orjson.loads(self._aliases_file.read_bytes())
        self._shards: dict[str, Shard] = {}
        for path in sorted(self._collections.iterdir()):
            if path.name.startswith("."):
                shutil.rmtree(path)
            else:
                self._shards[unquote(path.name)] = Shard(path)

    def names(self) -> list[str]:
        """All collections."""
        return sorted(self._shards)

    def get(self, name: str) -> Shard:
        """A collection by name or alias; raises MissingCollectionError."""
        shard = self._shards.get(self.aliases.get(name, name))
        if shard is None:
            raise MissingCollectionError(name)
        return shard

    def create(self, name: str, vectors: dict[str, Any], sparse: dict[str, Any]) -> None:
        """Create a collection in a hidden folder, then give it its name: a crash leaves none or all of it."""
        with self._changing:
            if name in self._shards or name in self.aliases:
                raise ExistingCollectionError(name)
            folder = self._collections / quote(name, safe="").replace(".", "%2E")
            building = self._collections / f".{os.urandom(8).hex()}"
            (building / "shard").mkdir(parents=True)
            config = edge.EdgeConfig(
                vectors={
                    key: edge.EdgeVectorParams(value["size"], DISTANCES[value["distance"]])
                    for key, value in vectors.items()
                },
                sparse_vectors={key: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf) for key in sparse},
            )
            edge.EdgeShard.create(str(building / "shard"), config).close()
            write_whole(building / "collection.json", {"vectors": vectors, "sparse_vectors": sparse})
            building.rename(folder)
            self._shards[name] = Shard(folder)

    def drop(self, name: str) -> bool:
        """Delete a collection and its aliases; False if there was none."""
        with self._changing:
            shard = self._shards.pop(name, None)
            if shard is None:
                return False
            self._save_aliases({alias: to for alias, to in self.aliases.items() if to != name})
            with shard.writing:
                shard.engine.close()
                hidden = self._collections / f".{os.urandom(8).hex()}"
                shard.folder.rename(hidden)
                shutil.rmtree(hidden)
            return True

    def change_aliases(self, actions: list[dict[str, Any]]) -> None:
        """Apply Qdrant's alias actions, all or none."""
        with self._changing:
            aliases = dict(self.aliases)
            for action in actions:
                if delete := action.get("delete_alias"):
                    aliases.pop(delete["alias_name"], None)
                if create := action.get("create_alias"):
                    if create["collection_name"] not in self._shards:
                        raise MissingCollectionError(create["collection_name"])
                    aliases[create["alias_name"]] = create["collection_name"]
            self._save_aliases(aliases)

    def _save_aliases(self, aliases: dict[str, str]) -> None:
        write_whole(self._aliases_file, aliases)
        self.aliases = aliases

    def close(self) -> None:
        """Flush and close everything."""
        for shard in self._shards.values():
            with shard.writing:
                shard.engine.flush()
                shard.engine.close()
        os.close(self._lock)


@contextmanager
def opened(folder: Path) -> Iterator[Shards]:
    """All collections of a folder, closed at the end."""
    shards = Shards(folder)
    try:
        yield shards
    finally:
        shards.close()
