"""Sources, one by one: show, change, look at what they would give."""

from typing import Any, Self
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.api.auth import CallerDep, ServicesDep
from app.api.collections import Globs, Options, Secrets, SourceBody, SourceCreate, reveal
from app.api.operations import CollectionRef
from app.domain.documents import SourceChange, SourceKind, SourceTest
from app.domain.errors import SourceUnknownError
from app.domain.syncs import OnGone

router = APIRouter(tags=["sources"])


class SourcePatch(BaseModel):
    """What is to be another way at a source; what is not said stays. ``secrets`` replaces all of them."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"include": ["docs/**"], "options": {"depth": 5}}]}
    )

    include: Globs | None = None
    exclude: Globs | None = None
    options: Options | None = None
    secrets: Secrets | None = None
    on_gone: OnGone | None = Field(default=None, description="What becomes of documents that are gone.")

    def change(self) -> SourceChange:
        """The same as the services take it."""
        return SourceChange(
            include=None if self.include is None else tuple(self.include),
            exclude=None if self.exclude is None else tuple(self.exclude),
            options=self.options,
            on_gone=self.on_gone,
            secrets=None if self.secrets is None else reveal(self.secrets),
        )


class SourceTestCreate(BaseModel):
    """Asks what a scan would find: of a source that the collection has, or of one that it could have."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"source": {"url": "https://example.com/docs/", "options": {"depth": 2}}}]},
    )

    source_id: UUID | None = None
    source: SourceCreate | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.source_id is None) == (self.source is None):
            raise ValueError("say source_id or source, one of the two")
        return self


class SourceTestBody(BaseModel):
    """What a scan would find. Figures are of what was seen until ``is_complete``, or until time ran out."""

    kind: SourceKind
    url: str
    is_complete: bool
    documents: int
    bytes: int
    names: list[str]
    errors: list[dict[str, str]]
    failed_by_code: dict[str, int]
    skipped: dict[str, int]
    seconds: float

    @classmethod
    def of(cls, found: SourceTest) -> Self:
        """Render what was found."""
        names = cls.model_fields
        values: dict[str, Any] = {name: getattr(found, name) for name in names}
        return cls(**values)


class Rotated(BaseModel):
    """How many secrets are encrypted with the newest key now that were not before."""

    rotated: int = Field(ge=0)


@router.get("/collections/{collection}/sources/{source_id}")
async def read_source(
    collection: CollectionRef, source_id: UUID, caller: CallerDep, services: ServicesDep
) -> SourceBody:
    """One source; its secrets are never shown."""
    found = await services.collections.get(caller.user_id, collection)
    for source in await services.collections.list_sources(caller.user_id, found.id):
        if source.id == source_id:
            return SourceBody.of(source)
    raise SourceUnknownError(source_id)


@router.patch("/collections/{collection}/sources/{source_id}")
async def change_source(
    collection: CollectionRef, source_id: UUID, body: SourcePatch, caller: CallerDep, services: ServicesDep
) -> SourceBody:
    """Change which documents belong to a source, or how its server is told who asks; an APPEND brings them in line."""
    found = await services.collections.get(caller.user_id, collection)
    return SourceBody.of(await services.sources.change(caller.user_id, found.id, source_id, body.change()))


@router.post("/collections/{collection}/sources/test")
async def test_source(
    collection: CollectionRef, body: SourceTestCreate, caller: CallerDep, services: ServicesDep
) -> SourceTestBody:
    """Connect to a source and say what a scan would find, within some seconds; nothing is stored."""
    found = await services.collections.get(caller.user_id, collection)
    wanted = body.source_id if body.source is None else body.source.spec()
    if wanted is None:
        raise AssertionError("unreachable: one of the two is said")
    return SourceTestBody.of(await services.sources.test(caller.user_id, found.id, wanted))


@router.post("/sources/rotate-secrets")
async def rotate_secrets(caller: CallerDep, services: ServicesDep) -> Rotated:
    """Encrypt the secrets of all of the caller's sources with the newest key."""
    return Rotated(rotated=await services.sources.rotate_secrets(caller.user_id))
