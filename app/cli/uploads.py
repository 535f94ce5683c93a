"""``vecloom index --upload``: sends files of this machine to a server, and has them indexed there."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from rich.console import Console

from app.cli.client import Client, CliError, ServerGoneError, collection_path
from app.cli.commands import find_or_create, follow, interrupted, summarise
from app.cli.local_files import LocalFile, list_files
from app.cli.progress import ProgressView, show_error
from app.cli.session import open_client
from app.domain.documents import SourceKind
from app.settings import Settings
from app.sources.directory import resolve_source_path
from app.sources.kinds import kind_of

SMALL_BYTES = 256 * 1024
"""Files up to this go many in one request."""
FORM_FILES = 100
FORM_BYTES = 4 * 1024 * 1024
PART_BYTES = 8 * 1024 * 1024
"""Of a large file, in one request."""
PAGE = 1000
PAUSES_SECONDS = (0.5, 1, 2, 4, 8, 15, 15, 15, 15, 15)
"""Between tries while the server does not answer."""
PASSING = frozenset({"dependency_unavailable", "upload_busy", "upload_offset", "database_unavailable"})
OF_ONE_FILE = frozenset(
    {"upload_too_large", "upload_checksum_mismatch", "invalid_upload_path", "unreadable_file", "upload_not_found"}
)
"""Codes that say nothing of the other files."""
BYTES = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}

Result = TypeVar("Result")
Uploads = dict[tuple[str, str], dict[str, Any]]


async def upload(settings: Settings, path: str, name: str, options: dict[str, Any], console: Console) -> Any:  # noqa: ANN401 — JSON
    """Send what the server has not got, then index, and wait. What is not here any more stays there.

    Raises:
        CliError: if the server stays away. What has arrived is not sent again by the next one.
    """
    if kind_of(path) is not SourceKind.DIRECTORY:
        raise CliError("invalid_usage", "--upload sends files of this machine; give the path of a folder or a file")
    globs = [options.get(key) or () for key in ("include", "exclude")]
    files = await asyncio.to_thread(list_files, resolve_source_path(path), *globs)
    operation: dict[str, Any] | None = None
    with ProgressView(console) as view:
        async with open_client(settings) as client:
            try:
                created = await find_or_create(client, name, [], options)
                sender = Sender(client, name, view, files)
                await sender.run()
                operation = await _ask_index(client, name) or created
                if operation is None:
                    raise CliError("nothing_to_sync", "there was nothing to send")
                ended = await follow(client, operation, view, [])
            except asyncio.CancelledError:
                if operation is None:
                    raise
                raise interrupted(settings, operation) from None
    view.show_errors(ended["operation_id"])
    for file in sender.not_sent:
        show_error({"uri": file.path, "error_code": file.error_code, "error_message": file.error_message}, console)
    sent, before = sender.sent, len(files) - sender.sent - len(sender.not_sent)
    told = f"{sent} files sent, {before} were there already, {len(sender.not_sent)} could not be sent"
    console.print(told, highlight=False)
    summarise(ended, name, console)
    return {**ended, "sent": sent, "sent_before": before, "not_sent": len(sender.not_sent)}


async def _ask_index(client: Client, name: str) -> dict[str, Any] | None:
    """The operation that brings uploads into the collection; None if it has none."""
    sources = (await client.call("GET", collection_path(name, "sources")))["sources"]
    source = next((source for source in sources if source["kind"] == "upload"), None)
    if source is None:
        return None
    config = {"source_id": source["id"], "mode": "full"}
    request = {"kind": "APPEND", "config": config}
    operation: dict[str, Any] = await client.call("POST", collection_path(name, "operations"), json=request)
    return operation


class Sender:
    """Sends files to one collection, each until it is there or cannot be."""

    def __init__(self, client: Client, name: str, view: ProgressView, files: list[LocalFile]) -> None:
        self._client = client
        self._name = name
        self._view = view
        self._files = files
        self._done = 0
        self.sent = 0
        self.not_sent: list[LocalFile] = []

    async def run(self) -> None:
        """Send all. Raises CliError for what concerns all files."""
        known = await self._again(self._list_known)
        form: list[tuple[LocalFile, bytes]] = []
        for file in self._files:
            self._tell()
            if file.error_code is not None:
                self._give_up(file)
                continue
            try:
                content = await self._prepare(file, known)
            except OSError as error:
                reason = error.strerror or "the file cannot be read"
                self._give_up(replace(file, error_code="unreadable_file", error_message=reason))
                continue
            if content is not None:
                form.append((file, content))
            if len(form) >= FORM_FILES or sum(len(item) for _, item in form) >= FORM_BYTES:
                await self._send_form(form)
                form = []
        if form:
            await self._send_form(form)
        self._tell()

    def _tell(self) -> None:
        self._view.count("sending", self._done, len(self._files), "files")

    def _give_up(self, file: LocalFile) -> None:
        self._done += 1
        self.not_sent.append(file)

    async def _again(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Try until the server answers, or stays away for long."""
        for pause in PAUSES_SECONDS:
            try:
                return await work()
            except CliError as error:
                if not isinstance(error, ServerGoneError) and error.code not in PASSING:
                    raise
            await asyncio.sleep(pause)
        return await work()

    async def _list_known(self) -> Uploads:
        """Uploads there are, by state and path."""
        known: Uploads = {}
        after: str | None = None
        while True:
            query = {"limit": PAGE, **({} if after is None else {"after": after})}
            page = await self._client.call("GET", collection_path(self._name, "uploads"), params=query)
            known |= {(item["state"], item["path"]): item for item in page["uploads"]}
            after = page["next"]
            if after is None:
                return known

    async def _prepare(self, file: LocalFile, known: Uploads) -> bytes | None:
        """The content of a small file that is to be sent; one that is there is passed over, a large one is sent."""
        there = known.get(("complete", file.path))
        may_be_there = there is not None and there["size"] == file.size
        sha256 = await asyncio.to_thread(file.digest) if may_be_there or file.size > SMALL_BYTES else ""
        if there is not None and there["sha256"] == sha256:
            self._done += 1
            return None
        if file.size <= SMALL_BYTES:
            return await asyncio.to_thread(file.read, 0, SMALL_BYTES + 1)
        begun = known.get(("receiving", file.path))
        is_same = begun is not None and (begun["size"], begun["sha256"]) == (file.size, sha256)
        try:
            await self._send_large(file, sha256, begun["id"] if begun is not None and is_same else None)
        except CliError as error:
            if error.code not in OF_ONE_FILE:
                raise
            self._give_up(replace(file, error_code=error.code, error_message=error.detail))
        else:
            self._done += 1
            self.sent += 1
        return None

    async def _send_form(self, form: list[tuple[LocalFile, bytes]]) -> None:
        """Small files in one request, which is whole or not at all, so it may be sent twice."""
        parts: list[tuple[str, Any]] = []
        for file, content in form:
            parts += [("path", (None, file.path.encode())), ("file", ("file", content))]
        path = collection_path(self._name, "documents")
        await self._again(lambda: self._client.call("POST", path, params={"index": "false"}, files=parts))
        self._done += len(form)
        self.sent += len(form)

    async def _send_large(self, file: LocalFile, sha256: str, upload_id: str | None) -> None:
        """A large file in parts, from where it stopped if an earlier command had begun with it."""
        if upload_id is None:
            upload_id = await self._again(lambda: self._begin(file, sha256))
        path = collection_path(self._name, "uploads", upload_id)
        offset = -1
        while offset < file.size:
            offset = await self._again(lambda: self._send_part(file, path))

    async def _begin(self, file: LocalFile, sha256: str) -> str:
        said = {"path": file.path, "sha256": sha256, "index": "false"}
        metadata = ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in said.items())
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(file.size), "Upload-Metadata": metadata}
        answer = await self._client.exchange("POST", collection_path(self._name, "uploads"), headers=headers)
        return answer["location"].rpartition("/")[2]

    async def _send_part(self, file: LocalFile, path: str) -> int:
        """What comes next, whatever was sent before; how much is there then."""
        state = await self._client.call("GET", path)
        if state["state"] == "complete":
            return file.size
        headers = await self._client.exchange("HEAD", path, headers=BYTES)
        offset = int(headers["upload-offset"])
        content = await asyncio.to_thread(file.read, offset, PART_BYTES)
        if not content:
            raise CliError("upload_checksum_mismatch", "the file became shorter while it was sent")
        answer = await self._client.exchange(
            "PATCH", path, headers={**BYTES, "Upload-Offset": str(offset)}, content=content
        )
        return int(answer["upload-offset"])
