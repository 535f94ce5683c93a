"""A mailbox server over a real socket, that can refuse, stall and answer whatever a test wants."""

import asyncio
import base64
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from typing import Any

from app.sources.imap_names import decode_folder, encode_folder

USER, PASSWORD, TOKEN = "jo@example.com", "let me in", "ya29.token"
SECTION = re.compile(r"BODY\.PEEK\[([^\]]*)\]<0\.(\d+)>")
PARAMETER = re.compile(r';\s*([\w*]+)=("[^"]*"|[^;\s]+)')
DATE = re.compile(r"SINCE (\S+)")


@dataclass(slots=True, kw_only=True)
class StoredMessage:
    """A message of a folder."""

    content: bytes
    date: datetime
    flags: set[str] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class StoredFolder:
    """A folder; ``refuses`` is the text that it cannot be opened with, ``claims`` how many messages it says it has."""

    validity: int = 1
    next_uid: int = 1
    messages: dict[int, StoredMessage] = field(default_factory=dict)
    attributes: str = ""
    refuses: str = ""
    claims: int | None = None


def write_mail(
    subject: str, text: str, *, attachments: dict[str, bytes] | None = None, html: str | None = None
) -> bytes:
    """A message as programs for mail send it."""
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"], mail["To"], mail["Subject"] = "Ada <ada@example.com>", USER, subject
    mail["Date"] = datetime(2024, 5, 1, 12, tzinfo=UTC)
    mail.set_content(text)
    if html is not None:
        mail.add_alternative(html, subtype="html")
    for name, content in (attachments or {}).items():
        mail.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return mail.as_bytes()


class Mailboxes:
    """Folders by name, served over IMAP4rev1.

    Attributes:
        commands: what clients have sent, without tags and logins.
        instead: by how a command begins, the bytes that answer it (``{tag}`` is its tag); what ends without the tag
            stalls.
        drips: how a command begins that is answered with a line now and then, and never to its end.
        sent: bytes of messages that were sent.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, delimiter: str = "/") -> None:
        self.folders: dict[str, StoredFolder] = {"INBOX": StoredFolder()}
        self.commands: list[str] = []
        self.instead: dict[str, bytes] = {}
        self.capabilities = "IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER" + (" STARTTLS" if tls else "")
        self.drips = "no command"
        self.greeting = b"* OK ready\r\n"
        self.delimiter = delimiter
        self.sent = 0
        self.connections = 0
        self.port = 0
        self.tls = tls
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Without encryption."""
        return f"imap://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        """Clients that have not gone."""
        return len(self._writers)

    @asynccontextmanager
    async def running(self, *, is_tls: bool = False) -> AsyncIterator["Mailboxes"]:
        """Serve for as long as a block runs; ``is_tls`` from the first byte on."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls if is_tls else None, limit=2**20)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.drop()

    def drop(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()

    def add(self, folder: str, content: bytes, *, date: datetime | None = None) -> int:
        """Put a message into a folder; its UID."""
        stored = self.folders.setdefault(folder, StoredFolder())
        uid, stored.next_uid = stored.next_uid, stored.next_uid + 1
        stored.messages[uid] = StoredMessage(content=content, date=date or datetime(2024, 5, 1, tzinfo=UTC))
        return uid

    def asked(self, beginning: str) -> list[str]:
        """Commands that begin so."""
        return [command for command in self.commands if command.startswith(beginning)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                await _Connection(self, reader, writer).serve()
        except asyncio.CancelledError:
            return
        finally:
            self._writers.discard(writer)
            writer.close()


class _Connection:
    """One client."""

    def __init__(self, server: Mailboxes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._folder: StoredFolder | None = None
        self._told: list[int] = []
        self._knows_user = False

    async def serve(self) -> None:
        """Answer until the client leaves."""
        self._writer.write(self._server.greeting)
        while (line := await self._read()) is not None:
            tag, _, command = line.partition(" ")
            name = command.partition(" ")[0].upper()
            self._server.commands.append(name if name in {"LOGIN", "AUTHENTICATE"} else command)
            while command.startswith(self._server.drips):
                self._tell("OK still here")
                await self._writer.drain()
                await asyncio.sleep(0.05)
            instead = next((raw for start, raw in self._server.instead.items() if command.startswith(start)), None)
            if instead is not None:
                self._writer.write(instead.replace(b"{tag}", tag.encode()))
            else:
                handle = getattr(self, f"_do_{name.lower()}", None)
                answer = await handle(command) if handle else "BAD unknown"
                if answer:
                    self._writer.write(f"{tag} {answer}\r\n".encode())
            await self._writer.drain()
            if name == "STARTTLS" and self._server.tls is not None:
                await self._encrypt(self._server.tls)
            if name == "LOGOUT":
                return

    async def _encrypt(self, tls: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        self._plain = self._writer
        self._reader = asyncio.StreamReader(limit=2**20)
        protocol = asyncio.StreamReaderProtocol(self._reader)
        transport = await loop.start_tls(self._plain.transport, protocol, tls, server_side=True)
        if transport is None:
            raise ConnectionError
        protocol.connection_made(transport)
        self._writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)

    async def _read(self) -> str | None:
        """A command with its literals."""
        whole = b""
        while line := await self._reader.readline():
            whole += line.rstrip(b"\r\n")
            found = re.search(rb"\{(\d+)\}$", whole)
            if found is None:
                return whole.decode()
            self._writer.write(b"+ go on\r\n")
            whole = whole[: found.start()] + await self._reader.readexactly(int(found[1]))
        return None

    def _tell(self, line: bytes | str) -> None:
        self._writer.write(b"* " + (line.encode() if isinstance(line, str) else line) + b"\r\n")

    async def _do_capability(self, command: str) -> str:  # noqa: ARG002 — one of several commands
        self._tell(f"CAPABILITY {self._server.capabilities}")
        return "OK done"

    async def _do_starttls(self, command: str) -> str:  # noqa: ARG002 — one of several commands
        return "OK go on" if self._server.tls else "BAD not here"

    async def _do_logout(self, command: str) -> str:  # noqa: ARG002 — one of several commands
        self._tell("BYE")
        return "OK bye"

    async def _do_login(self, command: str) -> str:
        self._knows_user = command.partition(" ")[2] in {f"{USER} {PASSWORD}", f'"{USER}" "{PASSWORD}"'}
        return "OK welcome" if self._knows_user else "NO [AUTHENTICATIONFAILED] who is that"

    async def _do_authenticate(self, command: str) -> str:
        self._writer.write(b"+ \r\n")
        said = base64.b64decode(await self._reader.readline()).decode()
        kind = command.split()[1].upper()
        right = {
            "PLAIN": said == f"\0{USER}\0{PASSWORD}",
            "XOAUTH2": said == f"user={USER}\x01auth=Bearer {TOKEN}\x01\x01",
            "OAUTHBEARER": said.startswith(f"n,a={USER},\x01") and said.endswith(f"\x01auth=Bearer {TOKEN}\x01\x01"),
        }
        self._knows_user = right[kind]
        if not self._knows_user and kind != "PLAIN":
            self._writer.write(b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n")
            await self._reader.readline()
        return "OK welcome" if self._knows_user else "NO [AUTHENTICATIONFAILED] who is that"

    async def _do_list(self, command: str) -> str:
        pattern = command.split(" ", 2)[2].strip('"')
        if not pattern:
            self._tell(f'LIST (\\Noselect) "{self._server.delimiter}" ""')
            return "OK done"
        wanted = re.compile(re.escape(pattern).replace(r"\*", ".*"))
        for name, folder in self._server.folders.items():
            if wanted.fullmatch(encoded := encode_folder(name).decode()):
                self._tell(f'LIST ({folder.attributes}) "{self._server.delimiter}" "{encoded}"')
        return "OK done"

    async def _do_examine(self, command: str) -> str:
        if not self._knows_user:
            return "BAD log in first"
        name = decode_folder(command.partition(" ")[2].strip('"').encode())
        self._folder = folder = self._server.folders.get(name)
        if folder is None:
            return "NO [NONEXISTENT] no such folder"
        if folder.refuses:
            return folder.refuses
        self._told = list(folder.messages)
        self._tell(f"{len(folder.messages) if folder.claims is None else folder.claims} EXISTS")
        self._tell(f"OK [UIDVALIDITY {folder.validity}] ids")
        self._tell(f"OK [UIDNEXT {folder.next_uid}] next")
        return "OK [READ-ONLY] open"

    async def _do_uid(self, command: str) -> str:
        if self._folder is None:
            return "BAD no folder"
        words = command.split(" ", 3)
        return self._search(words) if words[1] == "SEARCH" else self._fetch(words)

    def _search(self, words: list[str]) -> str:
        low, high = map(int, words[2].split(":"))
        assert self._folder is not None
        if high > len(self._told):
            return "BAD no such messages"
        since = DATE.search(words[3])
        first = datetime.strptime(since[1], "%d-%b-%Y").replace(tzinfo=UTC) if since else None
        found = [
            uid
            for uid in self._told[low - 1 : high]
            if (message := self._folder.messages.get(uid)) is not None
            and "\\Deleted" not in message.flags
            and (first is None or message.date >= first)
        ]
        for uid in [uid for uid in self._told if uid not in self._folder.messages]:
            self._tell(f"{self._told.index(uid) + 1} EXPUNGE")
            self._told.remove(uid)
        self._tell(" ".join(["SEARCH", *map(str, found)]))
        return "OK done"

    def _fetch(self, words: list[str]) -> str:
        assert self._folder is not None
        for uid in map(int, words[2].split(",")):
            message = self._folder.messages.get(uid)
            if message is None:
                continue
            if "\\Denied" in message.flags and "BODYSTRUCTURE" not in words[3]:
                return "NO denied"
            number = list(self._folder.messages).index(uid) + 1
            self._tell(f"{number} FETCH (UID {uid}".encode() + self._items(message, words[3]) + b")")
        return "OK done"

    def _items(self, stored: StoredMessage, wanted: str) -> bytes:
        parsed = message_from_bytes(stored.content)
        said = b" BODYSTRUCTURE " + structure_of(parsed) if "BODYSTRUCTURE" in wanted else b""
        for section, most in SECTION.findall(wanted):
            content = section_of(parsed, stored.content, section)[: int(most)]
            if "BODYSTRUCTURE" not in wanted:
                self._server.sent += len(content)
            said += f" BODY[{section}]<0> {{{len(content)}}}\r\n".encode() + content
        return said


def section_of(message: Message, content: bytes, section: str) -> bytes:
    """What ``BODY[section]`` is."""
    if section.startswith("HEADER.FIELDS"):
        names = section.partition("(")[2].rstrip(")").split()
        lines = re.split(rb"\r\n(?![ \t])", content.partition(b"\r\n\r\n")[0])
        kept = [line for line in lines if line.partition(b":")[0].decode("utf-8", "replace").upper() in names]
        return b"\r\n".join([*kept, b"", b""])
    part: Message = message
    for step in section.split("."):
        if part.is_multipart() and part.get_content_type() != "message/rfc822":
            part = part.get_payload()[int(step) - 1]  # type: ignore[index,assignment]  # a list then
    return body_of(part)


def body_of(part: Message) -> bytes:
    """A part as it was sent, without its header."""
    content = part.as_bytes(policy=policy.SMTP.clone(max_line_length=None))
    return content.partition(b"\r\n\r\n")[2]


def structure_of(part: Message) -> bytes:
    """``BODYSTRUCTURE``."""
    if part.is_multipart() and part.get_content_type() != "message/rfc822":
        inner: list[Any] = part.get_payload()  # type: ignore[assignment]  # a list then
        return b"(" + b"".join(map(structure_of, inner)) + f' "{part.get_content_subtype()}")'.encode()
    body = body_of(part)
    kind = f'"{part.get_content_maintype()}" "{part.get_content_subtype()}"'
    encoding = part.get("Content-Transfer-Encoding", "7bit")
    said = f"{kind} {_parameters(part, 'content-type')} NIL NIL {_quoted(encoding)} {len(body)}"
    if part.get_content_type() == "message/rfc822":
        said += ' (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" NIL NIL NIL "7bit" 1 1) 1'
    elif part.get_content_maintype() == "text":
        said += " " + str(body.count(b"\n"))
    shown = part.get_content_disposition()
    disposition = f'("{shown}" {_parameters(part, "content-disposition")})' if shown else "NIL"
    return f"({said} NIL {disposition} NIL NIL)".encode("utf-8", "replace")


def _parameters(part: Message, header: str) -> str:
    """As they were written: decoding them is the client's."""
    found = PARAMETER.findall(str(part.get(header, "")))
    flat = [f"{_quoted(name)} {_quoted(value.strip(chr(34)))}" for name, value in found]
    return f"({' '.join(flat)})" if flat else "NIL"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
