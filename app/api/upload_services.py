"""What the routes of uploads call."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

from app.domain.operations import Operation, Submission
from app.domain.uploads import Checksum, Upload, UploadLimits, UploadState


class Uploads(Protocol):
    """What callers do with files they send. Everything raises CollectionNotFoundError or UploadNotFoundError."""

    async def get(self, user_id: UUID, id_or_name: str, upload_id: UUID) -> Upload:
        """One of them."""
        ...

    async def settle(self, user_id: UUID, id_or_name: str, upload_id: UUID) -> Upload:
        """The same, when nobody sends it any more. Raises UploadBusyError."""
        ...

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
        """A page and the cursor of the next page. Raises InvalidInputError."""
        ...

    async def begin(
        self, user_id: UUID, id_or_name: str, *, path: str, size: int, sha256: bytes | None, indexes: bool
    ) -> Upload:
        """Raises UploadPathError, UploadTooLargeError, UploadQuotaError, TooManyUploadsError, UploadDiskFullError."""
        ...

    async def receive(
        self,
        user_id: UUID,
        id_or_name: str,
        upload_id: UUID,
        chunks: AsyncIterator[bytes],
        *,
        offset: int,
        checksum: Checksum | None,
        submission: Submission,
    ) -> tuple[Upload, Operation | None]:
        """Raises UploadOffsetError, UploadFinishedError, UploadBusyError, UploadTooLargeError, UploadChecksumError."""
        ...

    async def remove(self, user_id: UUID, id_or_name: str, upload_id: UUID, *, indexes: bool) -> Operation | None:
        """Delete it; the operation takes its document away."""
        ...


class FileBatch(Protocol):
    """The files of one request."""

    async def take(self, path: str, content: AsyncIterator[bytes], *, indexes: bool) -> None:
        """Write one. Raises UploadPathError, UploadTooLargeError, TooManyFilesError, InvalidUploadError."""
        ...

    async def complete(self, *, submission: Submission, indexes: bool) -> tuple[Sequence[Upload], Operation | None]:
        """Put all in place, or none. Raises InvalidUploadError, UploadQuotaError."""
        ...


class UploadBatches(Protocol):
    """Takes files that come in one request."""

    @property
    def limits(self) -> UploadLimits:
        """What may be sent."""
        ...

    def open(self, user_id: UUID, id_or_name: str) -> AbstractAsyncContextManager[FileBatch]:
        """A batch for the time of a block. Raises CollectionNotFoundError, UploadsOffError, UploadDiskFullError."""
        ...
