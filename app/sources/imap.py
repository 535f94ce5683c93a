"""Messages of a mailbox, and what is attached to them."""

import ssl
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from uuid import UUID

from app.domain.documents import Document, Fetched, Locator, ScannedDocument
from app.domain.errors import (
    DomainError,
    SourceGarbageError,
    SourceNotFoundError,
    SourceRefusesAccessError,
    SourceUnavailableError,
    SourceVanishedError,
)
from app.domain.ports import KnownDocuments
from app.sources.archives import archive_kind
from app.sources.fetching import fetch_each
from app.sources.globs import PathFilter
from app.sources.imap_client import Folder, ImapSession, RefusedError
from app.sources.imap_fetch import GONE, fetch_document
from app.sources.imap_folders import FolderEntry, FolderList, list_folders
from app.sources.imap_messages import Listed, describe, from_known
from app.sources.imap_names import MailboxUrl, MessagePlace, beginning_of
from app.sources.imap_options import ImapOptions
from app.sources.imap_pool import CONNECTIONS, ImapPool
from app.sources.imap_scan import DESCRIBED_AT_ONCE, describe_messages, stream_uids
from app.sources.imap_wire import Patience
from app.sources.walk import binary_suffixes, suffix_of

MOST_FAILURES = 20
"""Documents in a row that cannot be fetched, after which it is the server's fault."""


class ImapSource:
    """``DocumentSource`` over the messages of a mailbox: each is a document, and so is each of its attachments.

    Folders are opened for reading alone and nothing is marked as seen. A message never changes, so one that is known is
    not asked for again. What is left out is counted in ``skipped`` (``filtered``, ``binary``, ``archives``,
    ``special_folders``, ``message_limit``, ``parts``).

    Args:
        url: of a server or of a folder there, without a login.
        include: globs over the path, as ``2024/17 Minutes.eml`` or ``2024/17 Minutes/table.csv``.
        exclude: the same, and stronger.
        options: which messages.
        secrets: ``user``, and ``password`` or ``token``.
        known: what the last scan has found.
        max_bytes: larger documents come with the error ``document_too_large``.
        allow_private: whether addresses that are not public may be asked.
        reads_pictures: whether pictures are documents too.
        patience: how long the server is waited for.
        trust: what TLS is verified with; what sites are verified with without it.

    Raises:
        UnsupportedSourceError: if it is no URL of a mailbox.
        InvalidInputError: if a glob cannot be used.
    """

    is_local = False
    can_fetch_while_scanning = False

    def __init__(
        self,
        url: str,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        options: ImapOptions | None = None,
        secrets: Mapping[str, str] | None = None,
        known: KnownDocuments,
        max_bytes: int,
        allow_private: bool = False,
        reads_pictures: bool = False,
        patience: Patience | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._url = url
        self._place = MailboxUrl.of(url)
        self._options = options or ImapOptions()
        self._choice = PathFilter(include, exclude)
        self._known = known
        self._max_bytes = max_bytes
        self._binary = binary_suffixes(reads_pictures=reads_pictures)
        self._pool = ImapPool(
            self._place,
            secrets=secrets or {},
            plain=self._options.plain,
            allow_private=allow_private,
            patience=patience or Patience(),
            trust=trust,
        )
        self._skipped: Counter[str] = Counter()
        self._unseen: list[str] = []
        self._left = 0
        self._failures = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return self._url

    @property
    def skipped(self) -> Mapping[str, int]:
        """What the last scan has left out, by reason."""
        return self._skipped

    @property
    def unseen(self) -> Sequence[str]:
        """Folders that could not be read to their end, as beginnings of URIs."""
        return self._unseen

    async def aclose(self) -> None:
        """Close connections."""
        await self._pool.aclose()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[ImapSession]:
        """A connection for what every server does."""
        try:
            async with self._pool.use() as session:
                yield session
        except RefusedError as error:
            raise SourceGarbageError(self._place.base, "a no to what every server does") from error

    # --- scan -----------------------------------------------------------------------------------

    async def scan(self) -> AsyncGenerator[list[ScannedDocument], None]:
        """See the port."""
        self._skipped, self._unseen = Counter(), []
        self._left = self._options.max_messages
        async with self._session() as session:
            listed = await self._list(session)
            for entry in self._choose(listed):
                if isinstance(folder := await self._enter(session, entry), ScannedDocument):
                    yield [folder]
                elif folder is not None:
                    async with aclosing(self._read_folder(session, entry, folder)) as batches:
                        async for documents in batches:
                            yield documents

    async def _list(self, session: ImapSession) -> FolderList:
        listed = await list_folders(session, self._place, subfolders=self._options.subfolders)
        if not listed.folders:
            raise SourceNotFoundError(self._url)
        if listed.is_cut:
            self._unseen.append(f"{self._place.base}/")
        return listed

    def _choose(self, listed: FolderList) -> Iterator[FolderEntry]:
        """Folders that are looked into."""
        for entry in listed.folders:
            if entry.is_closed:
                continue
            if entry.is_special:
                self._skipped["special_folders"] += 1
            elif entry.path and self._choice.excludes_folder(entry.path):
                self._skipped["filtered"] += 1
            else:
                yield entry

    async def _enter(self, session: ImapSession, entry: FolderEntry) -> Folder | ScannedDocument | None:
        """A folder that was opened; a document with an error if that is not allowed, None if it is gone."""
        try:
            return await session.examine(entry.name)
        except RefusedError as error:
            is_gone = error.code == b"NONEXISTENT"
            if not entry.path:
                raise (
                    SourceVanishedError(self._url)
                    if is_gone
                    else SourceRefusesAccessError(f"{self._url} cannot be opened by this user")
                ) from error
            if is_gone:
                return None
        beginning = beginning_of(self._place.base, entry.name)
        self._unseen.append(f"{beginning};")
        return ScannedDocument(
            uri=beginning,
            path=entry.path,
            locator=Locator(path=beginning),
            size=0,
            modified_ns=0,
            error_code="unreadable_file",
            error_message="the folder cannot be opened",
        )

    async def _read_folder(
        self, session: ImapSession, entry: FolderEntry, folder: Folder
    ) -> AsyncGenerator[list[ScannedDocument], None]:
        async with aclosing(stream_uids(session, folder, self._options.criteria)) as windows:
            async for uids in windows:
                wanted = uids[: self._left]
                self._left -= len(wanted)
                for start in range(0, len(wanted), DESCRIBED_AT_ONCE):
                    messages = await self._look_at(session, folder, wanted[start : start + DESCRIBED_AT_ONCE])
                    documents = [item for message in messages for item in self._take(entry, folder, message)]
                    for first in range(0, len(documents), 1000):
                        yield documents[first : first + 1000]
                if len(wanted) < len(uids):
                    self._skipped["message_limit"] += len(uids) - len(wanted)
                    self._unseen.append(f"{beginning_of(self._place.base, folder.name)};")
                    return

    async def _look_at(self, session: ImapSession, folder: Folder, uids: Sequence[int]) -> list[Listed]:
        """Messages in order; the server is asked only for those that are not known."""
        uris = {uid: self._uri(folder, uid) for uid in uids}
        known = await self._known.find(list(uris.values()))
        found: dict[int, Listed] = {}
        for uid, uri in uris.items():
            if uri in known and (listed := from_known(uid, known[uri])) is not None:
                found[uid] = listed
        if asked := [uid for uid in uids if uid not in found]:
            found |= {item.uid: describe(item) for item in await describe_messages(session, asked)}
        return [found[uid] for uid in uids if uid in found]

    def _uri(self, folder: Folder, uid: int, section: str | None = None) -> str:
        place = MessagePlace(folder=folder.name, validity=folder.validity, uid=uid, section=section)
        return place.uri(self._place.base)

    def _take(self, entry: FolderEntry, folder: Folder, message: Listed) -> Iterator[ScannedDocument]:
        """Documents of a message that belong to the source."""
        stem = f"{entry.path}/{message.stem}" if entry.path else message.stem
        if message.is_cut:
            self._skipped["parts"] += 1
        if self._wants(f"{stem}.eml"):
            yield self._document(self._uri(folder, message.uid), f"{stem}.eml", message.size, message)
        for held in message.attachments if self._options.attachments else ():
            path = f"{stem}/{held.name}"
            if self._wants(path):
                yield self._document(self._uri(folder, message.uid, held.section), path, held.size, None)

    def _wants(self, path: str) -> bool:
        reason = None
        if not self._choice.wants(path):
            reason = "filtered"
        elif archive_kind(path) is not None:
            reason = "archives"
        elif suffix_of(path) in self._binary:
            reason = "binary"
        if reason is not None:
            self._skipped[reason] += 1
        return reason is None

    def _document(self, uri: str, path: str, size: int, message: Listed | None) -> ScannedDocument:
        code = text = None
        # the size of an attachment is a guess, and what is a little too large is seen when it is fetched
        if size > self._max_bytes * (1 if message else 1.1) + (0 if message else 100):
            code, text = "document_too_large", f"{size} bytes, at most {self._max_bytes} are read"
        elif message is not None and message.is_broken:
            code, text = "unreadable_file", "its server does not say what the message is made of"
        return ScannedDocument(
            uri=uri,
            path=path,
            locator=Locator(path=uri),
            size=size,
            modified_ns=0,
            etag=uri.removeprefix(self._place.base).partition(";")[2],
            links=None if message is None else message.to_links(),
            error_code=code,
            error_message=text,
        )

    # --- fetch ----------------------------------------------------------------------------------

    async def fetch(self, documents: Sequence[Document], into: Path) -> Mapping[UUID, Fetched]:
        """See the port."""
        return await fetch_each(documents, into, self._fetch_one, at_once=CONNECTIONS)

    async def _fetch_one(self, document: Document, file: Path) -> Fetched:
        place = MessagePlace.of(document.uri, self._place.base)
        if place is None:
            return GONE
        for is_last in (False, True):
            async with self._pool.use(place.folder) as session:
                try:
                    fetched = await fetch_document(session, place, file, max_bytes=self._max_bytes)
                except (SourceUnavailableError, SourceGarbageError) as error:
                    # a connection may have been closed while nobody used it
                    if is_last:
                        return self._count_failure(error)
                else:
                    self._failures = 0
                    return fetched
            await self._pool.forget_idle()
        raise AssertionError("the last try has an end")

    def _count_failure(self, error: DomainError) -> Fetched:
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            raise error
        return Fetched(error_code="fetch_failed", error_message="the server did not give it, or not as it should")

    async def require_present(self) -> None:
        """See the port."""
        try:
            async with self._session() as session:
                listed = await list_folders(session, self._place, subfolders=False)
        except DomainError as error:
            raise SourceVanishedError(self._url) from error
        if not listed.folders:
            raise SourceVanishedError(self._url)
