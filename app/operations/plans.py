"""What a PLAN is told: which source would go into which collection, and how."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.collections import CollectionRepository
from app.db.sources import SourceRepository
from app.domain.collections import Collection
from app.domain.documents import Chunking, ChunkingChoice, Source, SourceSpec
from app.domain.errors import CollectionNotFoundError, OptionConflictError
from app.domain.syncs import on_gone_of
from app.operations.sources import Admitted, admit_source
from app.secrets_box import SecretBox


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What a caller says of an index operation that is not to be done yet."""

    name: str
    model: str | None
    chunking: ChunkingChoice
    source: SourceSpec


async def plan_config(
    connection: AsyncConnection,
    user_id: UUID,
    wanted: PlanRequest,
    box: SecretBox,
    *,
    model: str,
    chunking: Chunking,
) -> tuple[UUID | None, dict[str, Any]]:
    """The collection, None if there is none of this name, and the config; ``model`` and ``chunking`` are defaults.

    Raises:
        OptionConflictError: if the collection or the source exists and is not as the caller says.
        InvalidChunkingError: if the overlap, said or usual, is not smaller than the size.
        DomainError: what ``admit_source`` raises.
    """
    admitted = admit_source(wanted.source, box)
    try:
        collection = await CollectionRepository(connection).get(user_id, wanted.name)
    except CollectionNotFoundError:
        filled = wanted.chunking.fill(chunking)
        made = {"model": wanted.model or model, "chunking": asdict(filled), "source": _described(admitted)}
        return None, {"collection": wanted.name, **made}
    _check_collection(collection, wanted)
    known = _find_source(await SourceRepository(connection).list_all(collection.id), admitted)
    if known is None:
        return collection.id, {"source": _described(admitted)}
    return collection.id, {"source_id": str(known.id)}


def _check_collection(collection: Collection, wanted: PlanRequest) -> None:
    chunking, choice = collection.chunking, wanted.chunking
    what = f"collection {collection.name!r}"
    _check(what, "model", present=collection.model, wanted=wanted.model)
    _check(what, "chunk_size", present=chunking.size, wanted=choice.size)
    _check(what, "chunk_overlap", present=chunking.overlap, wanted=choice.overlap)
    strategy = None if choice.strategy is None else choice.strategy.value
    _check(what, "chunk_strategy", present=chunking.strategy.value, wanted=strategy)


def _described(admitted: Admitted) -> dict[str, Any]:
    """The source as a config has it, its secrets encrypted."""
    secrets = None if admitted.secrets is None else admitted.secrets.decode()
    return {"url": admitted.url, "secrets": secrets, **admitted.config}


def _find_source(sources: Sequence[Source], wanted: Admitted) -> Source | None:
    known = next((source for source in sources if source.url == wanted.url), None)
    if known is not None:
        for name, said in wanted.config.items():
            present = on_gone_of(known.config).value if name == "on_gone" else known.config.get(name, [])
            _check("this source of the collection", name, present=present, wanted=said or None)
    return known


def _check(what: str, option: str, *, present: object, wanted: object) -> None:
    if wanted is not None and wanted != present:
        raise OptionConflictError(what, option, present=present, wanted=wanted)
