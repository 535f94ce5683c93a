"""Adapters of sources, chosen by their kind."""

import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.db.database import Database
from app.db.known import KnownRows
from app.db.sources import SourceRepository
from app.db.uploads import UploadRows
from app.domain.documents import Ocr, Source, SourceKind
from app.domain.errors import UnsupportedSourceError
from app.domain.ports import DocumentSource, KnownDocuments, Processes
from app.domain.uploads import UploadedFiles
from app.pipeline.records import is_record_file, scan_records
from app.secrets_box import SecretBox
from app.settings import Settings
from app.sources.archives import ArchiveLimits
from app.sources.directory import DirectorySource, RecordReader, resolve_source_path
from app.sources.filesystem import FilesystemSource
from app.sources.git import GitSource
from app.sources.git_cache import GitCache
from app.sources.git_repository import GitAccess
from app.sources.gitignore import is_honoured
from app.sources.imap import ImapSource
from app.sources.imap_options import ImapOptions
from app.sources.upload_folder import UploadFolder
from app.sources.uploads import UploadSource
from app.sources.web import WebSource
from app.sources.web_login import make_login
from app.sources.web_options import WebOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceParts:
    """What adapters may be made of."""

    settings: Settings
    processes: Processes
    known: KnownDocuments
    files: UploadedFiles
    secrets: Mapping[str, str] = field(repr=False)
    spool: Path
    reads_pictures: bool
    repositories: GitCache


def _open_directory(source: Source, parts: SourceParts) -> DocumentSource:
    path = resolve_source_path(source.url, parts.settings.source_roots)
    config = source.config
    return _open_path(
        path,
        parts,
        include=config.get("include", ()),
        exclude=config.get("exclude", ()),
        gitignore=is_honoured(config.get("options", {})),
    )


def _open_path(
    path: Path,
    parts: SourceParts,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    gitignore: bool = False,
) -> DirectorySource:
    settings = parts.settings
    return DirectorySource(
        path,
        include=include,
        exclude=exclude,
        gitignore=gitignore,
        max_bytes=settings.document_max_bytes,
        processes=parts.processes,
        records=RecordReader(is_record_file=is_record_file, scan_records=scan_records),
        archives=ArchiveLimits(
            members=settings.archive_max_members,
            bytes=settings.archive_max_bytes,
            ratio=settings.archive_max_ratio,
            depth=settings.archive_max_depth,
        ),
        reads_pictures=parts.reads_pictures,
    )


def _open_uploads(source: Source, parts: SourceParts) -> DocumentSource:
    return UploadSource(
        files=parts.files,
        folder=open_upload_folder(parts.settings),
        look_into=lambda path: _open_path(path, parts),
        include=source.config.get("include", ()),
        exclude=source.config.get("exclude", ()),
        max_bytes=parts.settings.document_max_bytes,
        reads_pictures=parts.reads_pictures,
    )


def _open_web(source: Source, parts: SourceParts) -> DocumentSource:
    settings = parts.settings
    return WebSource(
        source.url,
        include=source.config.get("include", ()),
        exclude=source.config.get("exclude", ()),
        options=WebOptions.of(source.config.get("options", {})),
        login=make_login(parts.secrets),
        spool=parts.spool,
        known=parts.known,
        processes=parts.processes,
        max_bytes=settings.document_max_bytes,
        allow_private=settings.sources_allow_private,
    )


def _open_filesystem(source: Source, parts: SourceParts) -> DocumentSource:
    settings = parts.settings
    return FilesystemSource(
        source.url,
        include=source.config.get("include", ()),
        exclude=source.config.get("exclude", ()),
        options=source.config.get("options", {}),
        secrets=parts.secrets,
        max_bytes=settings.document_max_bytes,
        roots=settings.source_roots,
        allow_private=settings.sources_allow_private,
        reads_pictures=parts.reads_pictures,
    )


def _open_imap(source: Source, parts: SourceParts) -> DocumentSource:
    settings = parts.settings
    return ImapSource(
        source.url,
        include=source.config.get("include", ()),
        exclude=source.config.get("exclude", ()),
        options=ImapOptions.of(source.config.get("options", {})),
        secrets=parts.secrets,
        known=parts.known,
        max_bytes=settings.document_max_bytes,
        allow_private=settings.sources_allow_private,
        reads_pictures=parts.reads_pictures,
    )


def _open_git(source: Source, parts: SourceParts) -> DocumentSource:
    settings = parts.settings
    options = source.config.get("options", {})
    return GitSource(
        source.url,
        include=source.config.get("include", ()),
        exclude=source.config.get("exclude", ()),
        options=options,
        access=GitAccess(
            secrets=parts.secrets,
            cache=parts.repositories,
            key=f"{source.id} {source.url} {options.get('branch', '')}",
            spool=parts.spool,
            max_bytes=settings.git_max_bytes,
            roots=settings.source_roots,
            allow_private=settings.sources_allow_private,
        ),
        max_bytes=settings.document_max_bytes,
        reads_pictures=parts.reads_pictures,
    )


ADAPTERS: dict[SourceKind, Callable[[Source, SourceParts], DocumentSource]] = {
    SourceKind.DIRECTORY: _open_directory,
    SourceKind.WEB: _open_web,
    SourceKind.FILESYSTEM: _open_filesystem,
    SourceKind.IMAP: _open_imap,
    SourceKind.UPLOAD: _open_uploads,
    SourceKind.GIT: _open_git,
}


class SourceOpener:
    """Opens sources for as long as a block runs."""

    def __init__(
        self, settings: Settings, database: Database, box: SecretBox, processes: Processes, *, spool: Path
    ) -> None:
        self._settings = settings
        self._database = database
        self._box = box
        self._processes = processes
        self._spool = spool
        self._repositories = GitCache(spool / "git", max_bytes=settings.git_max_bytes)
        self._reads_pictures = find_ocr(settings) is not None

    def __call__(self, source: Source) -> AbstractAsyncContextManager[DocumentSource]:
        """The adapter of a source, closed at the end of the block.

        Raises:
            UnsupportedSourceError: if this version has no adapter for it.
            SecretKeyMissingError, SecretKeyWrongError: if its secrets cannot be read.
        """
        return self._open(source)

    @asynccontextmanager
    async def _open(self, source: Source) -> AsyncIterator[DocumentSource]:
        adapter = ADAPTERS.get(source.kind)
        if adapter is None:
            raise UnsupportedSourceError(f"this version cannot read sources of kind {source.kind.value!r}")
        known = KnownRows(self._database, collection_id=source.collection_id, source_id=source.id)
        parts = SourceParts(
            settings=self._settings,
            processes=self._processes,
            known=known,
            files=UploadRows(self._database, source.id),
            secrets=await self._open_secrets(source),
            spool=self._spool,
            reads_pictures=self._reads_pictures,
            repositories=self._repositories,
        )
        async with aclosing(adapter(source, parts)) as opened:
            yield opened

    async def _open_secrets(self, source: Source) -> dict[str, str]:
        """Its secrets, which are under the newest key afterwards."""
        secrets = self._box.open(source.secrets)
        if (renewed := self._box.renew(source.secrets)) is not None:
            # no lease guards this: only what nobody has changed meanwhile is replaced, by the same under another key
            async with self._database.begin() as connection:
                await SourceRepository(connection).renew_secrets(source.id, before=source.secrets, after=renewed)
        return secrets


def open_upload_folder(settings: Settings) -> UploadFolder | None:
    """Where uploads lie: below the data folder of the embedded stack, else where the operator says, or nowhere."""
    root = settings.upload_folder
    if root is None and settings.database_url is None:
        root = settings.data / "uploads"
    return None if root is None else UploadFolder(root.expanduser().absolute(), free_bytes=settings.upload_free_bytes)


def find_ocr(settings: Settings) -> Ocr | None:
    """How pictures of text are read, if they are."""
    program = shutil.which("tesseract") if settings.ocr == "auto" else None
    return None if program is None else Ocr(program=program, languages=settings.ocr_languages)
