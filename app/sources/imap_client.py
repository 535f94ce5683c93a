"""A connection to an IMAP server: to a checked address, encrypted, reading alone, with an end to every wait."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from app.domain.errors import (
    SourceGarbageError,
    SourceNotEncryptedError,
    SourceRefusesAccessError,
    SourceUnavailableError,
)
from app.domain.failures import CertificateError, NetworkError, find_distrust
from app.sources.addresses import resolve_allowed
from app.sources.imap_names import MailboxUrl, encode_folder
from app.sources.imap_options import login_lines
from app.sources.imap_wire import LINE_BYTES, Patience, Response, Sink, Wire, parse

TAGGED = re.compile(
    rb"(?P<status>OK|NO|BAD|BYE|PREAUTH)(?: \[(?P<code>[A-Z0-9-]+)(?: (?P<value>[^\]]*))?\])?", re.IGNORECASE
)
LATER = frozenset({b"UNAVAILABLE", b"INUSE", b"LIMIT", b"SERVERBUG"})
"""Reasons that pass."""
MOST_PROMPTS = 6


class RefusedError(Exception):
    """The server does not do what it was asked to; ``code`` says why, if it does."""

    def __init__(self, code: bytes) -> None:
        super().__init__("the server refuses a command")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder that was opened, and how many messages it has."""

    name: str
    validity: int
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a command was answered with; ``lost`` responses were too large or could not be read."""

    responses: tuple[Response, ...]
    lost: int = 0

    def find_status(self, code: bytes) -> int | None:
        """The number that came as ``* OK [CODE number]``."""
        for response in self.responses:
            found = TAGGED.match(response.text, 2)
            if found is not None and (found["code"] or b"").upper() == code and (found["value"] or b"").isdigit():
                return int(found["value"])
        return None


class ImapSession:
    """One connection, which has logged in. After any error but ``RefusedError`` it can only be closed."""

    def __init__(
        self, place: MailboxUrl, *, allow_private: bool, patience: Patience, trust: ssl.SSLContext | None
    ) -> None:
        self.folder: Folder | None = None
        self.expunged = 0
        self._place = place
        self._allow_private = allow_private
        self._patience = patience
        self._trust = trust
        self._wire: Wire | None = None
        self._plain_wire: Wire | None = None
        self._count = 0
        self._capabilities: frozenset[str] = frozenset()

    @property
    def shown(self) -> str:
        """The server, for errors."""
        return self._place.base

    @property
    def is_open(self) -> bool:
        """Whether another command can be sent, as far as anybody knows."""
        return self._wire is not None and not self._wire.writer.transport.is_closing()

    # --- connection -----------------------------------------------------------------------------

    async def open(self, secrets: Mapping[str, str], *, plain: bool) -> None:
        """Connect and log in.

        Raises:
            AddressNotAllowedError: if the host has an address that may not be asked.
            CertificateError, SourceNotEncryptedError: if what we say could be read by others.
            SourceRefusesAccessError: if it does not take the login.
            SourceUnavailableError, SourceGarbageError: if it does not answer, or not as it should.
        """
        if "user" not in secrets or not {"password", "token"} & secrets.keys():
            raise SourceRefusesAccessError(
                f"{self._place.base} needs the secrets user and password, or user and token; give them with"
                " `vecloom sources change`"
            )
        try:
            async with self._explained():
                if self._trust is None:
                    self._trust = await asyncio.to_thread(httpx.create_ssl_context)
                async with asyncio.timeout(self._patience.connect_seconds):
                    await self._connect()
                    is_known = await self._greet()
                    await self._encrypt(plain=plain)
                    if not is_known:
                        await self._log_in(secrets)
        except RefusedError as error:
            self.abort()
            raise SourceGarbageError(self._place.base, "a no to what every server does") from error

    async def aclose(self) -> None:
        """Leave."""
        wire, self._wire = self._wire, None
        if wire is None:
            return
        with suppress(OSError, TimeoutError, RuntimeError):
            wire.writer.write(b"bye LOGOUT\r\n")
            wire.writer.close()
            async with asyncio.timeout(1):
                await wire.writer.wait_closed()
        wire.writer.transport.abort()

    def abort(self) -> None:
        """Break the connection off."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.writer.transport.abort()

    async def _connect(self) -> None:
        place = self._place
        failure: OSError | None = None
        for address in await resolve_allowed(place.host, place.port, allow_private=self._allow_private):
            try:
                reader, writer = await asyncio.open_connection(
                    address,
                    place.port,
                    limit=LINE_BYTES,
                    ssl=self._trust if place.is_tls else None,
                    server_hostname=place.host if place.is_tls else None,
                )
            except OSError as error:
                if find_distrust(error) is not None:
                    raise
                failure = error
                continue
            self._wire = Wire(reader, writer, shown=place.base, patience=self._patience)
            return
        raise failure or OSError("no address")

    async def _greet(self) -> bool:
        """Whether the server knows us already."""
        wire = self._require_wire()
        wire.begin()
        greeting = (await wire.read()).text
        found = TAGGED.match(greeting, 2) if greeting.startswith(b"* ") else None
        status = found["status"].upper() if found is not None else b""
        if status == b"BYE":
            raise SourceUnavailableError(self._place.base)
        if status not in {b"OK", b"PREAUTH"}:
            raise SourceGarbageError(self._place.base, "a greeting that is none of IMAP")
        await self._ask_capabilities()
        return status == b"PREAUTH"

    async def _ask_capabilities(self) -> None:
        answers = await self.run(b"CAPABILITY")
        words = [word for said in answers.responses for word in said.text.upper().split()[1:]]
        self._capabilities = frozenset(word.decode("ascii", "replace") for word in words)

    async def _encrypt(self, *, plain: bool) -> None:
        """Go on encrypted where the URL does not say so from the beginning."""
        if self._place.is_tls:
            return
        wire = self._require_wire()
        if "STARTTLS" not in self._capabilities:
            if plain:
                return
            raise SourceNotEncryptedError(self._place.base)
        try:
            await self.run(b"STARTTLS")
        except RefusedError as error:
            raise SourceNotEncryptedError(self._place.base) from error
        # a reader of its own: what somebody may have put in before the encryption is never read
        reader = asyncio.StreamReader(limit=LINE_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        loop = asyncio.get_running_loop()
        if self._trust is None:
            raise AssertionError("nobody has said what is trusted")
        transport = await loop.start_tls(wire.writer.transport, protocol, self._trust, server_hostname=self._place.host)
        if transport is None:
            raise OSError("the connection was closed")
        protocol.connection_made(transport)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        # a writer that nobody holds closes what it wrote to
        self._plain_wire = wire
        self._wire = Wire(reader, writer, shown=self._place.base, patience=self._patience)
        await self._ask_capabilities()

    async def _log_in(self, secrets: Mapping[str, str]) -> None:
        lines = login_lines(secrets, self._capabilities, host=self._place.host, port=self._place.port)
        refusal = SourceRefusesAccessError(
            f"{self._place.base} refuses the login; give it with `vecloom sources change`"
        )
        if not lines:
            raise refusal
        try:
            await self.run(*lines)
        except RefusedError as error:
            if error.code in LATER:
                raise SourceUnavailableError(self._place.base) from None
            raise refusal from None

    def _require_wire(self) -> Wire:
        if self._wire is None:
            raise SourceUnavailableError(self._place.base)
        return self._wire

    @asynccontextmanager
    async def _explained(self) -> AsyncIterator[None]:
        """What goes wrong is told as what it says of the source; the connection is over then."""
        try:
            yield
        except RefusedError:
            raise
        except (OSError, EOFError, TimeoutError, NetworkError) as error:
            self.abort()
            distrust: CertificateError | None = find_distrust(error)
            raise distrust or SourceUnavailableError(self._place.base) from error
        except BaseException:
            self.abort()
            raise

    # --- commands -------------------------------------------------------------------------------

    async def run(self, line: bytes, *more: bytes, sink: Sink | None = None) -> Answers:
        """Send a command, and ``more`` of it whenever the server asks for that.

        Raises:
            RefusedError: if the server says no.
            DomainError: see ``open``.
        """
        async with self._explained(), asyncio.timeout(self._patience.command_seconds):
            wire = self._require_wire()
            self._count += 1
            tag = f"v{self._count}".encode()
            wire.begin()
            await wire.send(tag + b" " + line)
            return await self._collect(wire, tag, list(more), sink)

    async def _collect(self, wire: Wire, tag: bytes, more: list[bytes], sink: Sink | None) -> Answers:
        kept: list[Response] = []
        lost = prompts = 0
        while True:
            response = await wire.read(sink)
            if response.text.startswith(b"* "):
                if not response.is_whole:
                    lost += 1
                elif self._note(response):
                    kept.append(response)
            elif response.text.startswith(b"+"):
                prompts += 1
                if prompts > MOST_PROMPTS:
                    raise SourceGarbageError(self._place.base, "questions without an end")
                # nothing more to say: it asks because it refuses what was said
                await wire.send(more.pop(0) if more else b"")
            elif response.text.startswith(tag + b" "):
                self._require_ok(response.text[len(tag) + 1 :])
                return Answers(responses=tuple(kept), lost=lost)
            else:
                raise SourceGarbageError(self._place.base, "what is no response of IMAP")

    def _note(self, response: Response) -> bool:
        """Remember what is told unasked; whether it is an answer."""
        words = response.text.split(maxsplit=2)
        if len(words) > 1 and words[1].upper() == b"BYE":
            raise SourceUnavailableError(self._place.base)
        if len(words) == 3 and words[2].upper() == b"EXPUNGE" and words[1].isdigit():
            self.expunged += 1
            return False
        return True

    def _require_ok(self, said: bytes) -> None:
        found = TAGGED.match(said)
        if found is None:
            raise SourceGarbageError(self._place.base, "what is no response of IMAP")
        if found["status"].upper() != b"OK":
            raise RefusedError((found["code"] or b"").upper())

    async def examine(self, name: str) -> Folder:
        """Open a folder for reading alone.

        Raises:
            RefusedError: if it cannot be opened.
        """
        self.folder = None
        answers = await self.run(b"EXAMINE " + quoted(encode_folder(name)))
        validity = answers.find_status(b"UIDVALIDITY")
        counts = [said.text.split() for said in answers.responses]
        messages = [
            int(words[1][:12])
            for words in counts
            if len(words) == 3 and words[2].upper() == b"EXISTS" and words[1].isdigit()
        ]
        if validity is None or not messages:
            self.abort()
            raise SourceGarbageError(self._place.base, "a folder without its validity or its size")
        self.expunged = 0
        self.folder = Folder(name=name, validity=validity, messages=messages[-1])
        return self.folder

    async def ask(self, line: bytes, kind: bytes, *, sink: Sink | None = None) -> tuple[list[list[Any]], int]:
        """The words of all responses of a kind, and how many responses could not be read."""
        answers = await self.run(line, sink=sink)
        found: list[list[Any]] = []
        lost = answers.lost
        for response in answers.responses:
            if kind not in response.text[:40].upper():
                continue
            try:
                words = parse((response.text[2:], *response.parts[1:]))
            except ValueError:
                lost += 1
                continue
            if kind in {word.upper() for word in words[:2] if isinstance(word, bytes)}:
                found.append(words)
        return found, lost


def quoted(text: bytes) -> bytes:
    """A string of ASCII in quotes."""
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def items_of(words: Sequence[Any]) -> dict[bytes, Any]:
    """Names and values of a ``FETCH`` response; nothing if it has none."""
    items = words[2] if len(words) > 2 else None
    if not isinstance(items, list):
        return {}
    return {
        name.upper(): value for name, value in zip(items[::2], items[1::2], strict=False) if isinstance(name, bytes)
    }
