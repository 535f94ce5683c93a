"""What callers do with the files they send: begin, go on, complete, list, delete."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.audit import record
from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.leftovers import read_marker
from app.db.operations import OperationRepository
from app.db.sources import SourceRepository
from app.db.uploads import UploadRepository
from app.domain.audit import Subject
from app.domain.collections import Collection
from app.domain.documents import Source, SourceKind
from app.domain.errors import InvalidInputError
from app.domain.operations import PLAIN, NewOperation, Operation, OperationKind, Submission
from app.domain.syncs import FULL, Trigger
from app.domain.uploads import (
    URL,
    Checksum,
    Upload,
    UploadChecksumError,
    UploadFinishedError,
    UploadLimits,
    UploadNotFoundError,
    UploadOffsetError,
    UploadsOffError,
    UploadState,
    UploadTooLargeError,
    clean_path,
)
from app.operations.service import OperationService
from app.operations.upload_files import remove_files
from app.operations.upload_receiving import FileReceiver, Turn, Turns, in_thread
from app.sources.upload_folder import UploadFolder, storage_name

KEEP_BYTES = 8 * 1024 * 1024
"""After so many bytes it is noted what has come: a crash costs no more."""


class UploadService:
    """Rows say what there is; a file is there before its row says that it is complete, and goes after its row."""

    def __init__(
        self, database: Database, operations: OperationService, folder: UploadFolder | None, limits: UploadLimits
    ) -> None:
        self._database = database
        self._operations = operations
        self._folder = folder
        self.limits = limits
        self._turns = Turns()

    @property
    def folder(self) -> UploadFolder:
        """Where the files are. Raises UploadsOffError if nowhere."""
        if self._folder is None:
            raise UploadsOffError
        return self._folder

    # --- look -----------------------------------------------------------------------------------

    async def get(self, user_id: UUID, id_or_name: str, upload_id: UUID) -> Upload:
        """Raises CollectionNotFoundError, UploadNotFoundError."""
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            return await UploadRepository(connection).get(collection.id, upload_id)

    async def settle(self, user_id: UUID, id_or_name: str, upload_id: UUID) -> Upload:
        """The same, when whoever sends it now has stopped: from there it goes on."""
        await self.get(user_id, id_or_name, upload_id)
        await self._turns.settle(upload_id)
        return await self.get(user_id, id_or_name, upload_id)

    async def list(
        self,
        user_id: UUID,
        id_or_name: str,
        *,
        state: UploadState | None,
        path: str | None,
        limit: int,
        after: str | None,
    ) -> tuple[Sequence[Upload], str | None]:
        """A page by path, and the cursor of the next one. Raises CollectionNotFoundError, InvalidInputError."""
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            page = await UploadRepository(connection).list_page(
                collection.id, state=state, path=path, limit=limit, after=_read_cursor(after)
            )
        return page, f"{page[-1].id}/{page[-1].path}" if len(page) == limit else None

    # --- begin ----------------------------------------------------------------------------------

    async def begin(
        self,
        user_id: UUID,
        id_or_name: str,
        *,
        path: str,
        size: int,
        sha256: bytes | None = None,
        indexes: bool = True,
    ) -> Upload:
        """A new upload, of which nothing has come yet.

        Raises:
            CollectionNotFoundError, UploadPathError, UploadsOffError.
            UploadTooLargeError, UploadQuotaError, TooManyUploadsError, UploadDiskFullError: it is not taken.
        """
        if size > self.limits.max_bytes:
            raise UploadTooLargeError(f"a file may have at most {self.limits.max_bytes} bytes")
        await in_thread(self.folder.require_room, size)
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            await UploadRepository(connection).require_room(user_id, self.limits, size=size, begins=True)
            upload = await self.add(connection, collection, path=path, size=size, sha256=sha256, indexes=indexes)
        async with self.creating(upload):
            pass
        return upload

    async def add(
        self,
        connection: AsyncConnection,
        collection: Collection,
        *,
        path: str,
        size: int | None,
        sha256: bytes | None,
        indexes: bool,
    ) -> Upload:
        """The row of a new upload. Raises UploadPathError."""
        cleaned = clean_path(path)
        source = await ensure_source(connection, collection)
        upload_id = uuid4()
        values = {
            "id": upload_id,
            "user_id": collection.user_id,
            "collection_id": collection.id,
            "source_id": source.id,
            "path": cleaned,
            "size": size,
            "sha256": sha256,
            "indexes": indexes,
            "storage": storage_name(await read_marker(connection), upload_id, cleaned),
        }
        return await UploadRepository(connection).add(values, expiry_seconds=self.limits.expiry_seconds)

    @asynccontextmanager
    async def creating(self, upload: Upload) -> AsyncIterator[FileReceiver]:
        """The file of a new upload while the block runs. If it raises, neither file nor row is left."""
        try:
            writer = await in_thread(self.folder.create, upload.storage)
            receiver = FileReceiver(
                self.folder, writer, most=self.limits.max_bytes if upload.size is None else upload.size
            )
            try:
                yield receiver
            finally:
                await receiver.aclose()
        except BaseException:
            await asyncio.shield(asyncio.create_task(self.forget([upload])))
            raise

    # --- go on ----------------------------------------------------------------------------------

    async def receive(
        self,
        user_id: UUID,
        id_or_name: str,
        upload_id: UUID,
        chunks: AsyncIterator[bytes],
        *,
        offset: int,
        checksum: Checksum | None = None,
        submission: Submission = PLAIN,
    ) -> tuple[Upload, Operation | None]:
        """Take what comes behind ``offset``; if that is all, the upload is complete, and indexed if it is to be.

        What has come is kept when the sender goes away, unless there is a checksum, which it does not match then.

        Raises:
            UploadNotFoundError, UploadFinishedError, UploadOffsetError, UploadBusyError.
            UploadTooLargeError, UploadDiskFullError, UploadChecksumError: what came is not kept.
        """
        _require(await self.get(user_id, id_or_name, upload_id), offset)
        async with self._turns.hold(upload_id) as turn:
            upload = await self.get(user_id, id_or_name, upload_id)
            receiver = await self._reopen(upload)
            try:
                # whoever had the file before may have changed the row
                upload = _require(await self.get(user_id, id_or_name, upload_id), offset)
                await receiver.cut(offset)
                received = await self._take(upload, receiver, turn, chunks, checksum)
                if received < (upload.size or 0):
                    return await self._advance(upload, received), None
                return await self._complete(upload, submission)
            finally:
                await receiver.aclose()

    async def _reopen(self, upload: Upload) -> FileReceiver:
        try:
            writer = await in_thread(self.folder.reopen, upload.storage, upload.id)
        except UploadNotFoundError:
            await self.forget([upload])
            raise
        return FileReceiver(self.folder, writer, most=upload.size or 0)

    async def _take(
        self,
        upload: Upload,
        receiver: FileReceiver,
        turn: Turn,
        chunks: AsyncIterator[bytes],
        checksum: Checksum | None,
    ) -> int:
        """How much is on the disk then; less than all is noted now and then."""
        start = kept = receiver.offset
        hashed = None if checksum is None else hashlib.new(checksum.algorithm, usedforsecurity=False)
        async for chunk in turn.read(chunks):
            await receiver.take(chunk)
            if hashed is not None:
                hashed.update(chunk)
            elif receiver.offset - kept >= KEEP_BYTES and receiver.offset < (upload.size or 0):
                kept = await receiver.keep()
                await self._advance(upload, kept)
        if checksum is not None and hashed is not None and hashed.digest() != checksum.digest:
            await receiver.cut(start)
            raise UploadChecksumError(
                "the bytes of this request are not those that its checksum is of; send them again"
            )
        return await receiver.keep()

    async def _advance(self, upload: Upload, received: int) -> Upload:
        async with self._database.begin() as connection:
            return await UploadRepository(connection).advance(
                upload.id, received=received, expiry_seconds=self.limits.expiry_seconds
            )

    # --- complete -------------------------------------------------------------------------------

    async def _complete(self, upload: Upload, submission: Submission) -> tuple[Upload, Operation | None]:
        digest = await in_thread(self.folder.digest, upload.storage)
        if upload.sha256 is not None and upload.sha256 != digest:
            await self.forget([upload])
            raise UploadChecksumError("the file is not the one that was announced; begin a new upload")
        completed, operation = await self.complete(
            [(upload, upload.size or 0, digest)], submission=submission, indexes=upload.indexes
        )
        return completed[0], operation

    async def complete(
        self,
        arrived: Sequence[tuple[Upload, int, bytes]],
        *,
        submission: Submission,
        indexes: bool,
    ) -> tuple[Sequence[Upload], Operation | None]:
        """Say of uploads that are on the disk, with size and sha256, that they are complete; all of them or none."""
        first = arrived[0][0]
        completed: list[Upload] = []
        replaced: list[str] = []
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(first.user_id, first.collection_id)
            uploads = UploadRepository(connection)
            # what has come is counted already
            await uploads.require_room(first.user_id, self.limits, size=0)
            await uploads.hold_source(first.source_id)
            for upload, size, sha256 in arrived:
                done, gone = await uploads.complete(upload.id, size=size, sha256=sha256)
                completed.append(done)
                replaced += gone
                told = {"size": size, "sha256": sha256.hex(), "replaced": bool(gone)}
                await record(connection, "upload.completed", _subject(done), collection=collection, after=told)
            asked = await _ask_append(connection, collection, first.source_id, submission) if indexes else None
        await remove_files(self._database, self._folder, replaced)
        return completed, await self._launch(asked)

    async def _launch(self, asked: tuple[Operation, bool] | None) -> Operation | None:
        if asked is None:
            return None
        operation, is_new = asked
        return await self._operations.launch(operation) if is_new else operation

    # --- delete ---------------------------------------------------------------------------------

    async def remove(
        self, user_id: UUID, id_or_name: str, upload_id: UUID, *, indexes: bool = True
    ) -> Operation | None:
        """Delete an upload, finished or not; the operation takes its document out of the collection.

        Raises:
            CollectionNotFoundError, UploadNotFoundError.
        """
        asked = None
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            uploads = UploadRepository(connection)
            upload = await uploads.get(collection.id, upload_id, hold=True)
            names = await uploads.delete(upload.id)
            if upload.state is UploadState.COMPLETE:
                await record(connection, "upload.deleted", _subject(upload), collection=collection)
                asked = await _ask_append(connection, collection, upload.source_id, PLAIN) if indexes else None
        await remove_files(self._database, self._folder, names)
        return await self._launch(asked)

    async def forget(self, uploads: Iterable[Upload]) -> None:
        """Unfinished ones that nobody goes on with: rows, then files."""
        async with self._database.begin() as connection:
            names = await UploadRepository(connection).forget([upload.id for upload in uploads])
        await remove_files(self._database, self._folder, names)


async def ensure_source(connection: AsyncConnection, collection: Collection) -> Source:
    """The source of a collection's uploads; the caller lets nobody else of the same user make one meanwhile."""
    sources = SourceRepository(connection)
    known = await sources.find_kind(collection.id, SourceKind.UPLOAD)
    if known is not None:
        return known
    source = await sources.add(collection.id, kind=SourceKind.UPLOAD, url=URL, config={})
    await record(connection, "source.added", source, collection=collection, after=source.config)
    return source


async def _ask_append(
    connection: AsyncConnection, collection: Collection, source_id: UUID, submission: Submission
) -> tuple[Operation, bool]:
    """An APPEND that has not begun yet, so that it sees what this transaction commits; and whether it is new."""
    operations = OperationRepository(connection)
    about = {"source_id": str(source_id), **FULL.config()}
    if submission.idempotency_key is None:
        waiting = await operations.find_waiting(collection.id, OperationKind.APPEND, about)
        if waiting is not None:
            return waiting, False
    return await operations.add_once(
        NewOperation(
            user_id=collection.user_id,
            collection_id=collection.id,
            kind=OperationKind.APPEND,
            config={**about, "trigger": Trigger.MANUAL.value},
            submission=submission,
        )
    )


def _require(upload: Upload, offset: int) -> Upload:
    """Raises UploadFinishedError, UploadOffsetError."""
    if upload.state is UploadState.COMPLETE:
        raise UploadFinishedError(upload.id)
    if upload.received != offset or upload.size is None:
        raise UploadOffsetError(upload.received)
    return upload


def _subject(upload: Upload) -> Subject:
    return Subject(kind="upload", id=upload.id, name=upload.path)


def _read_cursor(after: str | None) -> tuple[str, UUID] | None:
    if after is None:
        return None
    upload_id, _, path = after.partition("/")
    try:
        return path, UUID(upload_id)
    except ValueError as error:
        raise InvalidInputError("`after` must be the `next` of an earlier page") from error
