"""What a rebuild of a collection makes anew, and from what."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from app.domain.collections import Generation
from app.domain.documents import Chunking, ChunkingChoice, ChunkingStrategy
from app.domain.index_settings import IndexSettings
from app.domain.sparse_settings import SparseSettings


class Level(StrEnum):
    """What a rebuild begins with; the cheapest one that gives what indexing anew would give."""

    INDEX = "index"
    """Nothing is made anew: the vector store changes its index in place."""
    CHUNKS = "chunks"
    TEXT = "text"
    SOURCE = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a collection shall be after its rebuild, whatever it was.

    Attributes:
        extract: whether documents are read from their sources again and extracted anew.
        index: how the vector store indexes it.
        sparse: how its words are weighed and told apart.
    """

    model: str
    chunking: Chunking
    extract: bool = False
    index: IndexSettings = field(default_factory=IndexSettings)
    sparse: SparseSettings = field(default_factory=SparseSettings)

    def to_config(self) -> dict[str, Any]:
        """As an operation's config keeps it."""
        return {
            "model": self.model,
            "chunking": asdict(self.chunking),
            "extract": self.extract,
            "index": self.index.to_config(),
            "sparse": self.sparse.to_config(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildChoice:
    """What a caller said about a rebuild; the rest stays as the collection is.

    Attributes:
        extract: whether documents are read from their sources again.
        index: settings of the index that change; one that is None is left to the store again.
        sparse: settings of the words that change, in the same way.
        gate: the policy, as ``parse_policy`` reads it; it has to have been checked.
        keep_refused: whether a rebuild that is refused is kept, to be compared with what serves.
        watch_minutes: how long after the switch searches are looked at, to go back by itself if they get worse.
        dry_run: only say what it would do, take and cost.
    """

    model: str | None = None
    chunking: ChunkingChoice | None = None
    extract: bool = False
    index: Mapping[str, Any] | None = None
    sparse: Mapping[str, Any] | None = None
    gate: str | Mapping[str, Any] | None = None
    keep_refused: bool = False
    watch_minutes: int | None = None
    dry_run: bool = False


def read_target(config: Mapping[str, Any]) -> Target:
    """The target of ``Target.to_config``."""
    said = config["chunking"]
    chunking = Chunking(strategy=ChunkingStrategy(said["strategy"]), size=said["size"], overlap=said["overlap"])
    index = IndexSettings.from_config(config.get("index"))
    return Target(
        model=config["model"],
        chunking=chunking,
        extract=bool(config.get("extract")),
        index=index,
        sparse=SparseSettings.from_config(config.get("sparse")),
    )


def choose_level(old: Generation, target: Target, *, tokenizers: Mapping[str, str]) -> Level:
    """The cheapest level; ``tokenizers`` says by the name of a model what a token is, where that is not as usual.

    Chunks sized in tokens are others where tokens are.
    """
    if target.extract:
        return Level.SOURCE
    is_same = (old.model, old.chunking, old.sparse) == (target.model, target.chunking, target.sparse)
    if is_same and IndexSettings.from_config(old.index_settings) != target.index:
        return Level.INDEX
    in_tokens = target.chunking.strategy is not ChunkingStrategy.CHARACTER
    same_tokens = not in_tokens or tokenizers.get(old.model) == tokenizers.get(target.model)
    return Level.CHUNKS if old.chunking == target.chunking and same_tokens else Level.TEXT
