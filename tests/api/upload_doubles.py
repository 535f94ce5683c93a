"""A server that takes no uploads. Those that do are tested as they are, in ``test_uploads.py``."""

# ruff: noqa: ARG002 — doubles take what the services take, and use little of it

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from app.api.upload_services import FileBatch
from app.domain.operations import Operation, Submission
from app.domain.uploads import Checksum, Upload, UploadLimits, UploadNotFoundError, UploadsOffError, UploadState


class NoUploads:
    """Knows none."""

    async def get(self, user_id: UUID, id_or_name: str, upload_id: UUID) -> Upload:
        """Raises UploadNotFoundError."""
        raise UploadNotFoundError(upload_id)

    async def settle(self, user_id: UUID, id_or_name: str, upload_id: UUID) -> Upload:
        """Raises UploadNotFoundError."""
        raise UploadNotFoundError(upload_id)

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
        """None."""
        return [], None

    async def begin(
        self, user_id: UUID, id_or_name: str, *, path: str, size: int, sha256: bytes | None, indexes: bool
    ) -> Upload:
        """Raises UploadsOffError."""
        raise UploadsOffError

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
        """Raises UploadNotFoundError."""
        raise UploadNotFoundError(upload_id)

    async def remove(self, user_id: UUID, id_or_name: str, upload_id: UUID, *, indexes: bool) -> Operation | None:
        """Raises UploadNotFoundError."""
        raise UploadNotFoundError(upload_id)


class NoBatches:
    """Takes no form."""

    limits = UploadLimits(max_bytes=1, max_files=1, quota_bytes=1, max_unfinished=1, expiry_seconds=1, free_bytes=0)

    def open(self, user_id: UUID, id_or_name: str) -> AbstractAsyncContextManager[FileBatch]:
        """Raises UploadsOffError."""
        raise UploadsOffError
