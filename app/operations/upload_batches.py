"""Files that come in one request: all of them are taken, or none."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.uploads import UploadRepository
from app.domain.operations import Operation, Submission
from app.domain.uploads import InvalidUploadError, TooManyFilesError, Upload
from app.operations.upload_receiving import FileReceiver, in_thread
from app.operations.uploads import KEEP_BYTES, UploadService


class UploadBatch:
    """The files of one request, one after the other."""

    def __init__(self, uploads: UploadService, database: Database, user_id: UUID, id_or_name: str) -> None:
        self._uploads = uploads
        self._database = database
        self._user_id = user_id
        self._collection = id_or_name
        self._arrived: list[tuple[Upload, int, bytes]] = []
        self._paths: set[str] = set()

    async def take(self, path: str, content: AsyncIterator[bytes], *, indexes: bool) -> None:
        """Write one file.

        Raises:
            UploadPathError, UploadTooLargeError, UploadDiskFullError, UploadQuotaError.
            TooManyFilesError: if it is one too many.
            InvalidUploadError: if an earlier one has the same path.
        """
        if len(self._arrived) >= self._uploads.limits.max_files:
            raise TooManyFilesError(self._uploads.limits.max_files)
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(self._user_id, self._collection)
            # one at a time of a user makes the source
            await UploadRepository(connection).require_room(self._user_id, self._uploads.limits, size=0)
            upload = await self._uploads.add(connection, collection, path=path, size=None, sha256=None, indexes=indexes)
        async with self._uploads.creating(upload) as receiver:
            if upload.path in self._paths:
                raise InvalidUploadError("two files of the request have the same path")
            digest = await self._write(upload, receiver, content)
        self._paths.add(upload.path)
        self._arrived.append((upload, receiver.offset, digest))

    async def _write(self, upload: Upload, receiver: FileReceiver, content: AsyncIterator[bytes]) -> bytes:
        hashed, kept = hashlib.sha256(), 0
        async for part in content:
            hashed.update(part)
            await receiver.take(part)
            if receiver.offset - kept >= KEEP_BYTES:
                kept = await receiver.keep()
                await self._note(upload, kept)
        await self._note(upload, await receiver.keep())
        return hashed.digest()

    async def _note(self, upload: Upload, received: int) -> None:
        """Have others of the same user know what has come, who may not send more than is left then."""
        limits = self._uploads.limits
        async with self._database.begin() as connection:
            uploads = UploadRepository(connection)
            await uploads.advance(upload.id, received=received, expiry_seconds=limits.expiry_seconds)
            await uploads.require_room(self._user_id, limits, size=0)

    async def complete(self, *, submission: Submission, indexes: bool) -> tuple[Sequence[Upload], Operation | None]:
        """Put all in place, in one transaction. Raises InvalidUploadError if there are none."""
        if not self._arrived:
            raise InvalidUploadError("the request has no file; send one as `-F file=@NAME`")
        completed = await self._uploads.complete(self._arrived, submission=submission, indexes=indexes)
        self._arrived = []
        return completed

    async def aclose(self) -> None:
        """Forget what is not in place."""
        if self._arrived:
            await self._uploads.forget([upload for upload, _, _ in self._arrived])


class UploadBatches:
    """Opens batches."""

    def __init__(self, database: Database, uploads: UploadService) -> None:
        self._database = database
        self._uploads = uploads
        self.limits = uploads.limits

    @asynccontextmanager
    async def open(self, user_id: UUID, id_or_name: str) -> AsyncIterator[UploadBatch]:
        """A batch while the block runs; what is not completed at its end is forgotten.

        Raises:
            CollectionNotFoundError, UploadsOffError, UploadQuotaError, UploadDiskFullError.
        """
        folder = self._uploads.folder
        async with self._database.begin() as connection:
            await CollectionRepository(connection).get(user_id, id_or_name)
            await UploadRepository(connection).require_room(user_id, self._uploads.limits, size=0)
        batch = UploadBatch(self._uploads, self._database, user_id, id_or_name)
        await in_thread(folder.require_room)
        try:
            yield batch
        finally:
            await batch.aclose()
