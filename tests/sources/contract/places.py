"""Places that documents can be read from in tests, all handled the same way."""

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from uuid import uuid4

from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from app.domain.documents import KnownDocument
from app.domain.ports import DocumentSource
from app.domain.uploads import UploadedFile
from app.pipeline.records import is_record_file, scan_records
from app.processes.pool import ProcessPool
from app.sources.directory import DirectorySource, RecordReader
from app.sources.filesystem import FilesystemSource
from app.sources.git import GitSource
from app.sources.git_cache import GitCache
from app.sources.git_repository import GitAccess
from app.sources.imap import ImapSource
from app.sources.imap_options import ImapOptions
from app.sources.upload_folder import UploadFolder, storage_name
from app.sources.uploads import UploadSource
from app.sources.web import WebSource
from app.sources.web_options import WebOptions
from tests.sources.git_host import GitHost, git
from tests.sources.mailbox import PASSWORD, USER, Mailboxes, StoredFolder, write_mail
from tests.sources.site import Site, SitePage

MOST_BYTES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a source is opened with."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    max_bytes: int = MOST_BYTES


class Place(ABC):
    """Documents by path, and what may happen to them."""

    is_seen_whole = False
    """Whether nothing of it can be hidden without hiding all of it."""

    @abstractmethod
    def open(self, choice: Choice) -> DocumentSource:
        """The adapter over this place, as it would be opened for an operation."""

    def name_of(self, path: str) -> str:
        """What a document that was found at this path was written under."""
        return path

    @abstractmethod
    def write(self, path: str, content: bytes) -> None:
        """Put a document there; another content is another version."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Take a document away."""

    @abstractmethod
    def deny(self, path: str) -> None:
        """Make a document that can be seen and not read."""

    @abstractmethod
    def add_part(self, content: bytes) -> None:
        """Put a document where it is found only by looking into something, as a folder."""

    @abstractmethod
    def hide_part(self) -> None:
        """Have nobody look into that any more."""

    @abstractmethod
    def vanish(self) -> None:
        """Take everything away."""


class DirectoryPlace(Place):
    """A folder."""

    def __init__(self, root: Path, pool: ProcessPool) -> None:
        self._root = root
        self._pool = pool

    def open(self, choice: Choice) -> DocumentSource:
        """See the base."""
        return DirectorySource(
            self._root,
            include=choice.include,
            exclude=choice.exclude,
            max_bytes=choice.max_bytes,
            processes=self._pool,
            records=RecordReader(is_record_file=is_record_file, scan_records=scan_records),
        )

    def write(self, path: str, content: bytes) -> None:
        """See the base."""
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def remove(self, path: str) -> None:
        """See the base."""
        (self._root / path).unlink()

    def deny(self, path: str) -> None:
        """A link to nothing: also root may not read that."""
        (self._root / path).symlink_to("nothing")

    def add_part(self, content: bytes) -> None:
        """An archive: folders hide nothing from root."""
        with zipfile.ZipFile(self._root / "part.zip", "w") as archive:
            archive.writestr("inner.txt", content)

    def hide_part(self) -> None:
        """A damaged one."""
        (self._root / "part.zip").write_bytes(b"PK\x03\x04 damaged")

    def vanish(self) -> None:
        """See the base."""
        self._root.rename(self._root.with_name("elsewhere"))


class UploadPlace(Place):
    """The folder of uploads, and rows in memory."""

    def __init__(self, root: Path, pool: ProcessPool) -> None:
        self._root = root
        self._pool = pool
        self._folder = UploadFolder(root, free_bytes=0)
        self._rows: dict[str, UploadedFile] = {}

    def open(self, choice: Choice) -> DocumentSource:
        """See the base."""
        return UploadSource(
            files=self,
            folder=self._folder,
            look_into=lambda path: DirectorySource(
                path,
                max_bytes=choice.max_bytes,
                processes=self._pool,
                records=RecordReader(is_record_file=is_record_file, scan_records=scan_records),
            ),
            include=choice.include,
            exclude=choice.exclude,
            max_bytes=choice.max_bytes,
        )

    async def list_after(self, path: str, *, limit: int) -> Sequence[UploadedFile]:
        """See ``UploadedFiles``."""
        return [self._rows[name] for name in sorted(self._rows) if name > path][:limit]

    async def find(self, paths: Sequence[str]) -> Sequence[UploadedFile]:
        """See ``UploadedFiles``."""
        return [self._rows[path] for path in paths if path in self._rows]

    def write(self, path: str, content: bytes) -> None:
        """A new file takes the place of the one before."""
        self.remove(path)
        name = storage_name("0a", uuid4(), path)
        writer = self._folder.create(name)
        writer.write(content)
        writer.sync()
        writer.close()
        sha256 = self._folder.digest(name)
        self._rows[path] = UploadedFile(path=path, size=len(content), sha256=sha256, storage=name)

    def remove(self, path: str) -> None:
        """The row, and then the file."""
        row = self._rows.pop(path, None)
        if row is not None:
            self._folder.remove(row.storage)

    def deny(self, path: str) -> None:
        """A folder where the file should be: also root may not read that."""
        self.write(path, b"")
        stored = self._folder.path_of(self._rows[path].storage)
        stored.unlink()
        stored.mkdir()

    def add_part(self, content: bytes) -> None:
        """An archive."""
        packed = BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("inner.txt", content)
        self.write("part.zip", packed.getvalue())

    def hide_part(self) -> None:
        """A damaged one."""
        self.write("part.zip", b"PK\x03\x04 damaged")

    def vanish(self) -> None:
        """As if it were not mounted."""
        self._root.rename(self._root.with_name("elsewhere"))


class NothingKnown:
    """``KnownDocuments`` of a source that was never scanned."""

    async def find(self, uris: Sequence[str]) -> Mapping[str, KnownDocument]:  # noqa: ARG002 — none of them is known
        """None."""
        return {}


class WebPlace(Place):
    """A site whose first page links to all documents, or whose sitemap lists them."""

    def __init__(self, site: Site, spool: Path, pool: ProcessPool, *, has_sitemap: bool) -> None:
        self._site = site
        self._spool = spool
        self._pool = pool
        self._has_sitemap = has_sitemap
        self._links: list[str] = []
        self._list()

    def open(self, choice: Choice) -> DocumentSource:
        """See the base."""
        return WebSource(
            f"{self._site.url}/sitemap.xml" if self._has_sitemap else self._site.url,
            include=choice.include,
            exclude=choice.exclude,
            options=WebOptions(per_second=1000),
            spool=self._spool,
            known=NothingKnown(),
            processes=self._pool,
            max_bytes=choice.max_bytes,
            allow_private=True,
            retry_seconds=0.01,
        )

    def _list(self) -> None:
        if self._has_sitemap:
            entries = "".join(f"<url><loc>{self._site.url}{link}</loc></url>" for link in self._links)
            self._site.put("/pages.xml", f"<urlset>{entries}</urlset>")
            maps = ["/pages.xml", *(["/part.xml"] if "/part.xml" in self._site.pages else [])]
            entries = "".join(f"<sitemap><loc>{self._site.url}{link}</loc></sitemap>" for link in maps)
            self._site.put("/sitemap.xml", f"<sitemapindex>{entries}</sitemapindex>")
        else:
            self._site.link("/", *self._links, head='<meta name="robots" content="noindex">')

    def write(self, path: str, content: bytes) -> None:
        """See the base."""
        self._site.put(f"/{path}", content)
        if f"/{path}" not in self._links:
            self._links.append(f"/{path}")
        self._list()

    def remove(self, path: str) -> None:
        """See the base."""
        del self._site.pages[f"/{path}"]

    def deny(self, path: str) -> None:
        """A page that is forbidden."""
        self.write(path, b"")
        self._site.pages[f"/{path}"] = SitePage(status=403)

    def add_part(self, content: bytes) -> None:
        """A page, or a sitemap, that alone leads to another page."""
        self._site.put("/part/inner.txt", content)
        if self._has_sitemap:
            entry = f"<url><loc>{self._site.url}/part/inner.txt</loc></url>"
            self._site.put("/part.xml", f"<urlset>{entry}</urlset>")
            self._list()
        else:
            self.write("part.html", b"")
            self._site.link("/part.html", "part/inner.txt")

    def hide_part(self) -> None:
        """One that the server breaks at."""
        self._site.pages["/part.xml" if self._has_sitemap else "/part.html"] = SitePage(status=500)

    def vanish(self) -> None:
        """See the base."""
        self._site.is_gone = True


class BrokenFile(MemoryFile):  # type: ignore[misc]  # the library has no types
    """A file that nobody may read, or of which nobody may know the size."""

    def __init__(self, *, hides_size: bool) -> None:
        super().__init__()
        self._hides_size = hides_size

    @property
    def size(self) -> int:
        """Asked by whoever lists its folder."""
        if self._hides_size:
            raise PermissionError("denied")
        return 1

    def seek(self, *arguments: int) -> int:  # noqa: ARG002 — wherever to
        """Asked by whoever opens it."""
        raise PermissionError("denied")


class MemoryPlace(Place):
    """A folder of the file system in memory that ``fsspec`` has."""

    def __init__(self) -> None:
        self._name = f"/place-{uuid4().hex}"
        self._files = MemoryFileSystem()
        self._files.makedirs(self._name)

    def open(self, choice: Choice) -> DocumentSource:
        """See the base."""
        return FilesystemSource(
            f"memory:/{self._name}",
            include=choice.include,
            exclude=choice.exclude,
            max_bytes=choice.max_bytes,
        )

    def write(self, path: str, content: bytes) -> None:
        """See the base."""
        self._files.pipe_file(f"{self._name}/{path}", content)

    def remove(self, path: str) -> None:
        """See the base."""
        self._files.rm_file(f"{self._name}/{path}")

    def deny(self, path: str) -> None:
        """A file that cannot be opened."""
        MemoryFileSystem.store[f"{self._name}/{path}"] = BrokenFile(hides_size=False)

    def add_part(self, content: bytes) -> None:
        """A folder."""
        self.write("part/inner.txt", content)

    def hide_part(self) -> None:
        """One that cannot be listed."""
        MemoryFileSystem.store[f"{self._name}/part/inner.txt"] = BrokenFile(hides_size=True)

    def vanish(self) -> None:
        """See the base."""
        self._files.rm(self._name, recursive=True)


class ImapPlace(Place):
    """A folder of a mailbox, each document attached to a message of its own; the messages are left out."""

    root = "Archive"

    def __init__(self, server: Mailboxes) -> None:
        self._server = server
        self._server.folders[self.root] = StoredFolder()

    def open(self, choice: Choice) -> DocumentSource:
        """See the base."""
        return ImapSource(
            f"{self._server.url}/{self.root}",
            include=choice.include,
            exclude=[*choice.exclude, "**/*.eml"],
            options=ImapOptions(plain=True),
            secrets={"user": USER, "password": PASSWORD},
            known=NothingKnown(),
            max_bytes=choice.max_bytes,
            allow_private=True,
        )

    def name_of(self, path: str) -> str:
        """Without the message."""
        return "/".join(step for step in path.split("/") if not step.endswith("letter"))

    def write(self, path: str, content: bytes) -> None:
        """A message with an attachment; one of before is deleted."""
        folder, name = self._place_of(path)
        if folder in self._server.folders:
            self._delete(folder, name)
        self._server.add(folder, write_mail("letter", name, attachments={name: content}))

    def remove(self, path: str) -> None:
        """See the base."""
        self._delete(*self._place_of(path))

    def _place_of(self, path: str) -> tuple[str, str]:
        folder, _, name = path.rpartition("/")
        return f"{self.root}/{folder}".rstrip("/"), name

    def _delete(self, folder: str, name: str) -> None:
        messages = self._server.folders[folder].messages
        for uid in [uid for uid, message in messages.items() if f'filename="{name}"'.encode() in message.content]:
            del messages[uid]

    def deny(self, path: str) -> None:
        """A message that the server gives nothing of."""
        self.write(path, b"denied")
        messages = self._server.folders[self._place_of(path)[0]].messages
        messages[max(messages)].flags.add("\\Denied")

    def add_part(self, content: bytes) -> None:
        """A folder."""
        self.write("part/inner.txt", content)

    def hide_part(self) -> None:
        """One that cannot be opened."""
        self._server.folders[f"{self.root}/part"].refuses = "NO [NOPERM] not for you"

    def vanish(self) -> None:
        """See the base."""
        for name in [name for name in self._server.folders if name.startswith(self.root)]:
            del self._server.folders[name]


class GitPlace(Place):
    """A repository at a server that knows of no commit but the newest."""

    is_seen_whole = True

    def __init__(self, host: GitHost, spool: Path) -> None:
        self._host = host
        self._repository = host.make()
        self._cache = GitCache(spool / "git", max_bytes=10**9)
        self._spool = spool

    def open(self, choice: Choice) -> DocumentSource:
        """Each as if on a machine of its own."""
        access = GitAccess(
            cache=self._cache, key=uuid4().hex, spool=self._spool / "desks", max_bytes=10**9, allow_private=True
        )
        return GitSource(
            self._host.url_of(self._repository),
            include=choice.include,
            exclude=choice.exclude,
            access=access,
            max_bytes=choice.max_bytes,
        )

    def write(self, path: str, content: bytes) -> None:
        """See the base."""
        self._repository.write(path, content)

    def remove(self, path: str) -> None:
        """See the base."""
        self._repository.remove(path)
        self._repository.forget()

    def deny(self, path: str) -> None:
        """A file that the server has lost."""
        self._repository.lose(self._repository.write(path, b"lost"))

    def add_part(self, content: bytes) -> None:
        """A folder."""
        self._repository.write("part/inner.txt", content)

    def hide_part(self) -> None:
        """One that the server has lost."""
        self._repository.lose(git(self._repository.bare, "rev-parse", "main:part"))

    def vanish(self) -> None:
        """See the base."""
        self._repository.bare.rename(self._repository.bare.with_name("elsewhere.git"))
