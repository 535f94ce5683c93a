"""What people have sent to a collection."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote
from uuid import UUID

from app.domain.documents import Document, Fetched, Locator, ScannedDocument
from app.domain.errors import SourceNotFoundError, SourceVanishedError
from app.domain.uploads import URL, UploadedFile, UploadedFiles, UploadsOffError, upload_uri
from app.sources.archives import archive_kind
from app.sources.directory import RECORD_SUFFIXES, DirectorySource
from app.sources.globs import PathFilter
from app.sources.upload_folder import UploadFolder
from app.sources.walk import PICTURE_SUFFIXES, suffix_of

BATCH = 1000


class UploadSource:
    """``DocumentSource`` over the uploads of one source; its rows say what there is.

    Archives and record files are looked into as in folders. Left out is what globs leave out, and pictures where nobody
    can read them; whatever else is no document says so, for somebody has sent it.

    Args:
        files: the rows.
        folder: where their bytes are; None if this machine has no such folder.
        look_into: ``DirectorySource`` over one file, without globs.
        include: globs over the path; see ``PathFilter``.
        exclude: the same, and stronger.
        max_bytes: larger documents come with the error ``document_too_large``.
        reads_pictures: whether pictures are documents too, since their text can be read.
    """

    url = URL
    # a machine that has another folder than the others cannot share them
    is_local = True
    can_fetch_while_scanning = True

    def __init__(
        self,
        *,
        files: UploadedFiles,
        folder: UploadFolder | None,
        look_into: Callable[[Path], DirectorySource],
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        max_bytes: int,
        reads_pictures: bool = False,
    ) -> None:
        self._pictures = frozenset() if reads_pictures else PICTURE_SUFFIXES
        self._files = files
        self._folder = folder
        self._look_into = look_into
        self._choice = PathFilter(include, exclude)
        self._max_bytes = max_bytes
        self._skipped: Counter[str] = Counter()
        self._unseen: list[str] = []
        self._has_scanned = False

    @property
    def skipped(self) -> Mapping[str, int]:
        """Files left out by the last scan, by reason."""
        return self._skipped

    @property
    def unseen(self) -> Sequence[str]:
        """Beginnings of URIs of what is in archives that could not be looked into."""
        return self._unseen

    async def scan(self) -> AsyncGenerator[list[ScannedDocument], None]:
        """See the port."""
        self._skipped, self._unseen = Counter(), []
        await self._require_folder()
        self._has_scanned = True
        after = ""
        batch: list[ScannedDocument] = []
        while files := await self._files.list_after(after, limit=BATCH):
            for file in files:
                async for documents in self._open(file):
                    batch += documents
                    while len(batch) >= BATCH:
                        yield batch[:BATCH]
                        del batch[:BATCH]
            after = files[-1].path
        await self.require_present()
        if batch:
            yield batch

    async def _require_folder(self) -> None:
        """Raises UploadsOffError, SourceNotFoundError."""
        if not await self._is_present():
            raise SourceNotFoundError(f"{URL}, in the VECLOOM_UPLOAD_FOLDER of this worker")

    async def _is_present(self) -> bool:
        """Whether a file that there is could be in the folder of this machine."""
        files = await self._files.list_after("", limit=1)
        if not files:
            return True
        return await asyncio.to_thread(self._present_folder.holds, files[0].storage)

    @property
    def _present_folder(self) -> UploadFolder:
        if self._folder is None:
            raise UploadsOffError
        return self._folder

    async def require_present(self) -> None:
        """See the port."""
        if self._has_scanned and not await self._is_present():
            raise SourceVanishedError(URL)
        if not self._has_scanned:
            await self._require_folder()

    async def _open(self, file: UploadedFile) -> AsyncIterator[list[ScannedDocument]]:
        """The document of a file, or the documents in it in parts."""
        is_archive = archive_kind(file.path) is not None
        wants_all = self._choice.wants(file.path)
        if self._choice.excludes(file.path) or not (wants_all or is_archive):
            self._skipped["filtered"] += 1
        elif is_archive or suffix_of(file.path) in RECORD_SUFFIXES:
            async for documents in self._open_inside(file, wants_all=wants_all):
                yield documents
        elif suffix_of(file.path) in self._pictures:
            self._skipped["binary"] += 1
        else:
            yield [self._describe(file)]

    def _describe(self, file: UploadedFile) -> ScannedDocument:
        code = message = None
        if file.size > self._max_bytes:
            code, message = "document_too_large", f"{file.size} bytes, at most {self._max_bytes} are read"
        uri = upload_uri(file.path)
        return ScannedDocument(
            uri=uri,
            path=file.path,
            locator=Locator(path=uri),
            size=file.size,
            modified_ns=0,
            etag=f"sha256 {file.sha256.hex()}",
            error_code=code,
            error_message=message,
        )

    async def _open_inside(self, file: UploadedFile, *, wants_all: bool) -> AsyncIterator[list[ScannedDocument]]:
        """As the folder would show it that held this file alone, under the names of the upload."""
        stored = self._present_folder.path_of(file.storage)
        inside = self._look_into(stored)
        uri = upload_uri(file.path)
        try:
            async for documents in inside.scan():
                named = [self._rename(document, file, inside.url, stored.name) for document in documents]
                kept = [item for item in named if self._is_wanted(item, file, wants_all=wants_all)]
                self._skipped["filtered"] += len(named) - len(kept)
                yield kept
        except (SourceNotFoundError, SourceVanishedError):
            self._unseen.append(uri)
            described = self._describe(file)
            yield [replace(described, error_code="file_vanished", error_message="the file is not there any more")]
        self._skipped.update(inside.skipped)
        self._unseen += [uri + beginning.removeprefix(inside.url) for beginning in inside.unseen]

    def _is_wanted(self, document: ScannedDocument, file: UploadedFile, *, wants_all: bool) -> bool:
        if document.path == file.path:
            return True
        return not self._choice.excludes(document.path) and (wants_all or self._choice.wants(document.path))

    def _rename(self, document: ScannedDocument, file: UploadedFile, stored: str, name: str) -> ScannedDocument:
        """A document of the stored file, as one of the upload."""
        rest = document.uri.removeprefix(stored)
        if not rest:
            # it is the file itself after all, or an archive that cannot be read
            described = self._describe(file)
            failed = document.error_code or described.error_code
            message = document.error_message if document.error_code else described.error_message
            return replace(described, error_code=failed, error_message=message)
        path = f"{file.path}/{document.path}" if rest.startswith("!/") else file.path + document.path.removeprefix(name)
        return replace(document, uri=upload_uri(file.path) + rest, path=path)

    async def fetch(self, documents: Sequence[Document], into: Path) -> Mapping[UUID, Fetched]:  # noqa: ARG002 — they are here
        """See the port; children read the files where they are."""
        paths = {document.id: unquote(document.locator.path.removeprefix(URL)) for document in documents}
        found = {file.path: file for file in await self._files.find(sorted(set(paths.values())))}
        gone = Fetched(error_code="file_vanished", error_message="the upload was deleted")
        return {
            document: Fetched(path=str(self._present_folder.path_of(found[path].storage))) if path in found else gone
            for document, path in paths.items()
        }

    async def aclose(self) -> None:
        """See the port; nothing is open."""
