"""Adapters of sources, chosen by their kind."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass

from app.db.database import Database
from app.db.known import KnownRows
from app.domain.documents import Ocr, Source, SourceKind
from app.domain.errors import UnsupportedSourceError
from app.domain.ports import DocumentSource, KnownDocuments, Processes
from app.pipeline.records import is_record_file, scan_records
from app.settings import Settings
from app.sources.archives import ArchiveLimits
from app.sources.directory import DirectorySource, RecordReader, resolve_source_path


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceParts:
    """What adapters may be made of."""

    settings: Settings
    processes: Processes
    known: KnownDocuments
    reads_pictures: bool


def _open_directory(source: Source, parts: SourceParts) -> DocumentSource:
    settings = parts.settings
    return DirectorySource(
        str(resolve_source_path(source.url, settings.source_roots)),
        include=source.config.get("include", ()),
        exclude=source.config.get("exclude", ()),
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


ADAPTERS: dict[SourceKind, Callable[[Source, SourceParts], DocumentSource]] = {
    SourceKind.DIRECTORY: _open_directory,
}


class SourceOpener:
    """Opens sources for as long as a block runs."""

    def __init__(self, settings: Settings, database: Database, processes: Processes) -> None:
        self._settings = settings
        self._database = database
        self._processes = processes
        self._reads_pictures = find_ocr(settings) is not None

    def __call__(self, source: Source) -> AbstractAsyncContextManager[DocumentSource]:
        """The adapter of a source, closed at the end of the block.

        Raises:
            UnsupportedSourceError: if this version has no adapter for it.
        """
        return self._open(source)

    @asynccontextmanager
    async def _open(self, source: Source) -> AsyncIterator[DocumentSource]:
        adapter = ADAPTERS.get(source.kind)
        if adapter is None:
            raise UnsupportedSourceError(f"this version cannot read sources of kind {source.kind.value!r}")
        known = KnownRows(self._database, collection_id=source.collection_id, source_id=source.id)
        parts = SourceParts(
            settings=self._settings, processes=self._processes, known=known, reads_pictures=self._reads_pictures
        )
        async with aclosing(adapter(source, parts)) as opened:
            yield opened


def find_ocr(settings: Settings) -> Ocr | None:
    """How pictures of text are read, if they are."""
    program = shutil.which("tesseract") if settings.ocr == "auto" else None
    return None if program is None else Ocr(program=program, languages=settings.ocr_languages)
