"""Files that people send to their collections."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from urllib.parse import quote
from uuid import UUID

from app.domain.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PermanentError,
    TransientError,
)

URL = "upload:///"
"""Of the source that holds a collection's uploads."""
LONGEST_PATH_BYTES = 1000
LONGEST_NAME_BYTES = 255
DEEPEST = 32
REFUSED = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of characters that no name has: controls, halves of characters, ends of lines."""


class UploadState(StrEnum):
    """``receiving → complete``."""

    RECEIVING = "receiving"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that somebody has sent, or is sending.

    Attributes:
        path: below the root of the source, with ``/`` between folders.
        size: bytes; None of one whose end has not come and that nobody has declared.
        received: bytes that are kept, whatever happens.
        sha256: of the content; before it is complete, what its sender says it will be.
        indexes: whether its end begins an operation that indexes it.
        storage: its name in the folder of uploads.
        expires_at: when it is given up, unless more of it comes.
    """

    id: UUID
    user_id: UUID
    collection_id: UUID
    source_id: UUID
    path: str
    state: UploadState
    size: int | None
    received: int
    sha256: bytes | None
    indexes: bool
    storage: str
    created_at: datetime
    expires_at: datetime | None
    completed_at: datetime | None

    @property
    def uri(self) -> str:
        """Of its document."""
        return upload_uri(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """Bounds of what people may send; see ``app/settings.py``."""

    max_bytes: int
    max_files: int
    quota_bytes: int
    max_unfinished: int
    expiry_seconds: float
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """A complete upload, as its source finds it."""

    path: str
    size: int
    sha256: bytes
    storage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksum:
    """What the bytes of one request hash to; ``algorithm`` is one of ``hashlib``."""

    algorithm: str
    digest: bytes


class UploadedFiles(Protocol):
    """What the rows know of the files of one source."""

    async def list_after(self, path: str, *, limit: int) -> Sequence[UploadedFile]:
        """In the order of their paths, those behind ``path``; empty is before all."""
        ...

    async def find(self, paths: Sequence[str]) -> Sequence[UploadedFile]:
        """Those of these paths that there are."""
        ...


def upload_uri(path: str) -> str:
    """URI of the document that is uploaded under a path."""
    return URL + quote(path, safe="/")


def clean_path(said: str) -> str:
    """The path that somebody gives a file, in Unicode's normal form.

    Raises:
        UploadPathError: for one that leads elsewhere, or that no file has.
    """
    path = unicodedata.normalize("NFC", said)
    parts = path.split("/")
    if any(unicodedata.category(char) in REFUSED for char in path):
        raise UploadPathError("has control characters")
    if "\\" in path:
        raise UploadPathError("has a backslash; write / between folders")
    if any(part.strip() in {"", ".", ".."} for part in parts):
        raise UploadPathError("is absolute, or has a part that is empty, . or ..")
    if len(path.encode()) > LONGEST_PATH_BYTES or any(len(part.encode()) > LONGEST_NAME_BYTES for part in parts):
        raise UploadPathError(f"is longer than {LONGEST_PATH_BYTES} bytes, or a part of it than {LONGEST_NAME_BYTES}")
    if len(parts) > DEEPEST:
        raise UploadPathError(f"is more than {DEEPEST} deep")
    return path


# --- errors -------------------------------------------------------------------------------------


class UploadNotFoundError(NotFoundError):
    """The collection has no such upload; one that was not finished in time is gone too."""

    code = "upload_not_found"

    def __init__(self, upload_id: object) -> None:
        super().__init__(f"upload {upload_id} does not exist, or has expired; begin a new one")


class UploadPathError(InvalidInputError):
    """The path of an upload is none that a file may have here."""

    code = "invalid_upload_path"

    def __init__(self, why: str) -> None:
        super().__init__(f"the path of the upload {why}")


class InvalidUploadError(InvalidInputError):
    """A request that uploads is not as its protocol wants it."""

    code = "invalid_upload"


class UploadTooLargeError(InvalidInputError):
    """An upload has more bytes than it may have, or than were declared."""

    code = "upload_too_large"


class TooManyFilesError(InvalidInputError):
    """One request has more files than it may have."""

    code = "too_many_files"

    def __init__(self, most: int) -> None:
        super().__init__(f"one request may have at most {most} files; send the others in another one")


class UploadQuotaError(ConflictError):
    """All uploads of a user together would be more than they may be."""

    code = "upload_quota_exceeded"

    def __init__(self, most: int) -> None:
        super().__init__(f"all your uploads together may have at most {most} bytes; delete some first")


class TooManyUploadsError(TransientError):
    """A user has as many unfinished uploads as are allowed."""

    code = "too_many_uploads"

    def __init__(self, most: int) -> None:
        super().__init__(f"you have {most} unfinished uploads; finish some of them, or delete them")


class UploadOffsetError(ConflictError):
    """The bytes that come are not those that come next."""

    code = "upload_offset"

    def __init__(self, received: int) -> None:
        super().__init__(f"the upload goes on at byte {received}; ask for its offset and send from there")


class UploadFinishedError(ConflictError):
    """The upload is complete already."""

    code = "upload_finished"

    def __init__(self, upload_id: object) -> None:
        super().__init__(f"upload {upload_id} is complete; begin a new one to replace it")


class UploadBusyError(TransientError):
    """Another request is still sending the same upload."""

    code = "upload_busy"

    def __init__(self, upload_id: object) -> None:
        super().__init__(f"another request is sending upload {upload_id}; try again in a moment")


class UploadChecksumError(InvalidInputError):
    """What has arrived is not what was sent."""

    code = "upload_checksum_mismatch"


class UploadDiskFullError(TransientError):
    """The disk of the folder of uploads has less room than is to stay free."""

    code = "upload_disk_full"

    def __init__(self) -> None:
        super().__init__("this server has no room for the upload now; tell its operator")


class TusVersionError(InvalidInputError):
    """A client speaks another version of the protocol of resumable uploads, or does not say which."""

    code = "tus_version"

    def __init__(self, version: str) -> None:
        super().__init__(f"say `Tus-Resumable: {version}`; this server speaks that version of tus")


class UploadsOffError(PermanentError):
    """This server has no folder for uploads."""

    code = "uploads_not_configured"

    def __init__(self) -> None:
        super().__init__("this server takes no uploads: its operator sets VECLOOM_UPLOAD_FOLDER on servers and workers")
