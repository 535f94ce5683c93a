"""What callers do with the sources of their collections."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from app.db.audit import record
from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.sources import SourceRepository
from app.domain.documents import ScannedDocument, Source, SourceChange, SourceKind, SourceSpec, SourceTest
from app.domain.ports import DocumentSource
from app.domain.sanitising import sanitise
from app.secrets_box import SecretBox
from app.sources.kinds import check_source, kind_of, split_login

TEST_SECONDS = 20.0
SHOWN_NAMES = 20
SHOWN_ERRORS = 20
ENOUGH_DOCUMENTS = 10_000

OpenSource = Callable[[Source], AbstractAsyncContextManager[DocumentSource]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A source as it is stored."""

    kind: SourceKind
    url: str
    config: dict[str, Any]
    secrets: bytes | None = field(repr=False)


def admit_source(spec: SourceSpec, box: SecretBox) -> Admitted:
    """What is stored of a source as a caller describes it; a login in its URL becomes a secret.

    Raises:
        UnsupportedSourceError: if no adapter reads it.
        InvalidSourceError: if an option or a secret cannot be used.
        SecretKeyMissingError: if it has a secret, and there is no key to encrypt it with.
    """
    url, login = split_login(spec.url)
    kind, secrets = kind_of(url), {**login, **spec.secrets}
    check_source(kind, url, options=spec.options, secrets=secrets)
    return Admitted(kind=kind, url=url, config=spec.config(), secrets=box.seal(secrets))


class SourceService:
    """One method, one transaction."""

    def __init__(self, database: Database, box: SecretBox, open_source: OpenSource) -> None:
        self._database = database
        self._box = box
        self._open_source = open_source

    async def add(self, user_id: UUID, collection_id: UUID, spec: SourceSpec) -> Source:
        """Raises SourceExistsError, and what ``admit_source`` raises."""
        admitted = admit_source(spec, self._box)
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, collection_id)
            source = await SourceRepository(connection).add(
                collection_id,
                kind=admitted.kind,
                url=admitted.url,
                config=admitted.config,
                secrets=admitted.secrets,
            )
            await record(connection, "source.added", source, collection=collection, after=source.config)
            return source

    async def change(self, user_id: UUID, collection_id: UUID, source_id: UUID, change: SourceChange) -> Source:
        """Change what was said of a source; an APPEND brings its documents in line.

        Raises:
            SourceUnknownError: if the collection has no such source.
            InvalidSourceError, SecretKeyMissingError: if what it would be then cannot be.
        """
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, collection_id)
            sources = SourceRepository(connection)
            source = await sources.get(collection_id, source_id)
            config = {**source.config, **change.config()}
            # those of before were looked at when they came, and need no key now
            check_source(source.kind, source.url, options=config.get("options", {}), secrets=change.secrets or {})
            sealed = source.secrets if change.secrets is None else self._box.seal(change.secrets)
            changed = await sources.change(source.id, config=config, secrets=sealed)
            await record(
                connection,
                "source.changed",
                changed,
                collection=collection,
                before=source.config | {"has_login": source.secrets is not None},
                after=config | {"has_login": sealed is not None, "login_given": change.secrets is not None},
            )
            return changed

    async def rotate_secrets(self, user_id: UUID) -> int:
        """Encrypt the secrets of all of a user's sources with the newest key; how many were not yet.

        Raises:
            SecretKeyMissingError, SecretKeyWrongError: and nothing is changed.
        """
        rotated = 0
        async with self._database.begin() as connection:
            sources = SourceRepository(connection)
            for source in await sources.list_with_secrets(user_id):
                renewed = self._box.renew(source.secrets)
                if renewed is not None:
                    rotated += await sources.renew_secrets(source.id, before=source.secrets, after=renewed)
        return rotated

    async def test(self, user_id: UUID, collection_id: UUID, wanted: SourceSpec | UUID) -> SourceTest:
        """What a scan of a source would find, of one that is there or of one that could be; nothing is stored.

        Raises:
            DomainError: why it cannot be read at all.
        """
        async with self._database.begin() as connection:
            await CollectionRepository(connection).get(user_id, collection_id)
            if isinstance(wanted, UUID):
                source = await SourceRepository(connection).get(collection_id, wanted)
        if isinstance(wanted, SourceSpec):
            admitted = admit_source(wanted, self._box)
            source = Source(
                id=uuid4(),
                collection_id=collection_id,
                kind=admitted.kind,
                url=admitted.url,
                config=admitted.config,
                secrets=admitted.secrets,
            )
        return await _test(self._open_source, source)


async def _test(open_source: OpenSource, source: Source) -> SourceTest:
    found = SourceTest(kind=source.kind, url=source.url, is_complete=True)
    started = time.monotonic()
    try:
        async with asyncio.timeout(TEST_SECONDS), open_source(source) as adapter:
            async with aclosing(adapter.scan()) as batches:
                async for batch in batches:
                    found = _count(found, batch)
                    if found.documents >= ENOUGH_DOCUMENTS:
                        found = replace(found, is_complete=False)
                        break
            found = replace(found, skipped=dict(adapter.skipped))
    except TimeoutError:
        found = replace(found, is_complete=False)
    return replace(found, seconds=round(time.monotonic() - started, 3))


def _count(found: SourceTest, batch: Sequence[ScannedDocument]) -> SourceTest:
    errors = [item for item in batch if item.error_code is not None]
    codes = Counter(found.failed_by_code)
    codes.update(item.error_code or "" for item in errors)
    shown = [
        {"path": item.path, "error_code": item.error_code or "", "error_message": sanitise(item.error_message or "")}
        for item in errors[: SHOWN_ERRORS - len(found.errors)]
    ]
    names = [item.path for item in batch if item.error_code is None][: SHOWN_NAMES - len(found.names)]
    return replace(
        found,
        documents=found.documents + len(batch),
        bytes=found.bytes + sum(item.size for item in batch),
        names=[*found.names, *names],
        errors=[*found.errors, *shown],
        failed_by_code=dict(codes),
    )
