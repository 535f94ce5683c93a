"""Decides what becomes of documents that a finished scan has not seen."""

from collections import Counter
from uuid import UUID

from app.db.documents import DocumentRepository
from app.db.gone import GoneRepository
from app.db.shared_documents import SharedDocumentRepository
from app.domain.documents import Source, SourceKind
from app.domain.syncs import AppendChoice, AppendMode, OnGone, on_gone_of
from app.pipeline.context import IngestContext
from app.pipeline.scan import let_go, remove_gone

MARKED_AT_ONCE = 5000


def removes_gone(source: Source, choice: AppendChoice) -> bool:
    """Whether documents that are gone are removed."""
    return choice.mode is AppendMode.FULL and on_gone_of(source.config) is OnGone.REMOVE


async def settle_gone(
    context: IngestContext, source: Source, choice: AppendChoice, *, scan: UUID, counts: Counter[str]
) -> None:
    """Remove, keep or mark documents that a finished scan has not seen; ``counts["kept"]`` says how many are left.

    Raises:
        MassDeletionGuardError: if most of a source of some size would be removed; nothing is.
    """
    if removes_gone(source, choice):
        # uploads do not go by themselves: somebody has deleted each of them
        confirmed = choice.confirm_removals or source.kind is SourceKind.UPLOAD
        await remove_gone(context, source, scan=scan, counts=counts, confirmed=confirmed)
        return
    if choice.mode is AppendMode.FULL:
        await _pass_on(context, source.id, scan)
        await _drop_unread(context, source.id, scan)
        async with context.database.fenced(context.lease) as connection:
            await GoneRepository(connection, context.collection.id).settle_kept(source.id, scan=scan)
        if on_gone_of(source.config) is OnGone.MARK:
            await _mark(context, source.id, scan)
    async with context.database.begin() as connection:
        counts["kept"] = await GoneRepository(connection, context.collection.id).count_gone(source.id, scan=scan)


async def _pass_on(context: IngestContext, source_id: UUID, scan: UUID) -> None:
    """What another source has is not gone: it belongs to that from now on."""
    limit = context.limits.removal_batch_size
    while True:
        async with context.database.begin() as connection:
            shared = await GoneRepository(connection, context.collection.id).list_shared(
                source_id, scan=scan, limit=limit
            )
        if not shared:
            break
        async with context.database.fenced(context.lease) as connection:
            await SharedDocumentRepository(connection, context.collection.id).pass_on(shared, source_id=source_id)
    await let_go(context, source_id, scan=scan)


async def _drop_unread(context: IngestContext, source_id: UUID, scan: UUID) -> None:
    """Forget what was found, never ingested and is gone: no chunk and no point of it was ever committed."""
    limit = context.limits.removal_batch_size
    while True:
        async with context.database.begin() as connection:
            unread = await GoneRepository(connection, context.collection.id).list_unread(
                source_id, scan=scan, limit=limit
            )
        if not unread:
            return
        async with context.database.fenced(context.lease) as connection:
            await DocumentRepository(connection, context.collection.id).remove(
                unread, operation_id=context.lease.operation_id
            )
        context.require_lease()
        # an attempt that died may have stored some of its points
        await context.store.delete_documents(context.generation.name, unread)
        async with context.database.fenced(context.lease) as connection:
            await DocumentRepository(connection, context.collection.id).mark_clean(unread)


async def _mark(context: IngestContext, source_id: UUID, scan: UUID) -> None:
    marked = MARKED_AT_ONCE
    while marked == MARKED_AT_ONCE:
        async with context.database.fenced(context.lease) as connection:
            marked = await GoneRepository(connection, context.collection.id).mark(
                source_id, scan=scan, limit=MARKED_AT_ONCE
            )
