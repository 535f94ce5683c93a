"""Brings a message, or an attachment of one, into a file."""

import asyncio
import hashlib
from binascii import a2b_base64, a2b_qp
from pathlib import Path
from typing import IO

from app.domain.documents import Fetched
from app.sources.imap_client import ImapSession, RefusedError, items_of
from app.sources.imap_message import Message, Part, mime_header
from app.sources.imap_names import MessagePlace
from app.sources.imap_scan import describe_messages
from app.sources.imap_wire import Sink
from app.sources.opened import opened

HEADER_BYTES = 64 * 1024
HEADERS = "HEADER.FIELDS (FROM TO CC SUBJECT DATE MESSAGE-ID)"
PART_BYTES = 256 * 1024
LARGEST_SHARE = {"base64": 2, "quoted-printable": 3}
"""How much longer an encoded part may be than what it holds."""
NO_BASE64 = bytes(sorted(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")))
GONE_CODES = frozenset({b"NONEXISTENT", b"EXPUNGEISSUED"})
GONE = Fetched(error_code="file_vanished", error_message="the message is not there any more")


class SpoolError(Exception):
    """This machine cannot keep what comes, which is not the server's fault."""


class MessageGoneError(Exception):
    """The server has nothing to say of a message."""


class StructureError(Exception):
    """The server does not say what a message is made of."""


class PartTooLargeError(Exception):
    """A part has more bytes than are read."""


async def fetch_document(session: ImapSession, place: MessagePlace, file: Path, *, max_bytes: int) -> Fetched:
    """Bring one document; what its server refuses is its own error.

    Raises:
        DomainError: see ``ImapSession.run``.
    """
    try:
        await _bring(session, place, file, max_bytes)
    except RefusedError as error:
        return GONE if error.code in GONE_CODES else unreadable("its server does not give it")
    except MessageGoneError:
        return GONE
    except StructureError:
        return unreadable("its server does not say what the message is made of")
    except PartTooLargeError:
        return Fetched(error_code="document_too_large", error_message=f"more than {max_bytes} bytes")
    return Fetched(path=str(file))


async def _bring(session: ImapSession, place: MessagePlace, file: Path, max_bytes: int) -> None:
    folder = session.folder
    if folder is None or (folder.name, folder.validity) != (place.folder, place.validity):
        folder = await session.examine(place.folder)
    described = await describe_messages(session, [place.uid]) if folder.validity == place.validity else []
    if not described:
        raise MessageGoneError
    message = described[0].message
    if message is None:
        raise StructureError
    if place.section is None:
        await _write_message(session, place, message, file, max_bytes)
    elif (part := message.find(place.section)) is not None:
        await _write_attachment(session, place, part, file, max_bytes)
    else:
        raise MessageGoneError


def unreadable(message: str) -> Fetched:
    """A document that its server does not give, or not as it should be."""
    return Fetched(error_code="unreadable_file", error_message=message)


async def _write_message(
    session: ImapSession, place: MessagePlace, message: Message, file: Path, max_bytes: int
) -> None:
    """A mail of its own, with the headers that people read and the texts, still encoded."""
    if sum(part.octets for part in message.texts) > max_bytes:
        raise PartTooLargeError
    boundary = hashlib.sha256(repr(place).encode()).hexdigest()
    async with opened(file, "w+b") as mail:
        await _download(session, place.uid, HEADERS, mail, HEADER_BYTES, may_be_cut=True)
        await asyncio.to_thread(_end_header, mail)
        if len(message.texts) != 1:
            several = f'multipart/mixed; boundary="{boundary}"'
            head = f"Content-Type: {several if message.texts else 'text/plain'}\r\n\r\n"
            await asyncio.to_thread(mail.write, head.encode())
        for part in message.texts:
            between = f"--{boundary}\r\n" if len(message.texts) > 1 else ""
            await asyncio.to_thread(mail.write, between.encode() + mime_header(part))
            await _download(session, place.uid, part.section, mail, max_bytes)
            await asyncio.to_thread(mail.write, b"\r\n")
        if len(message.texts) > 1:
            await asyncio.to_thread(mail.write, f"--{boundary}--\r\n".encode())


def _end_header(mail: IO[bytes]) -> None:
    """Leave out what ends the header, and a line that was cut."""
    mail.seek(0)
    header = mail.read(HEADER_BYTES)
    whole = header[: header.rfind(b"\n") + 1].rstrip(b"\r\n")
    mail.seek(0)
    mail.truncate()
    mail.write(whole + b"\r\nMIME-Version: 1.0\r\n" if whole else b"MIME-Version: 1.0\r\n")


async def _write_attachment(session: ImapSession, place: MessagePlace, part: Part, file: Path, max_bytes: int) -> None:
    """What a part holds, no longer encoded."""
    raw = file.with_name(f"{file.name}.raw")
    most = LARGEST_SHARE.get(part.encoding, 1) * max_bytes + HEADER_BYTES
    try:
        async with opened(raw, "w+b") as packed:
            await _download(session, place.uid, part.section, packed, most)
        await asyncio.to_thread(_decode, raw, file, part.encoding, max_bytes)
    finally:
        await asyncio.to_thread(raw.unlink, missing_ok=True)


async def _download(
    session: ImapSession, uid: int, section: str, file: IO[bytes], most_bytes: int, *, may_be_cut: bool = False
) -> None:
    """Write a section, of which at most one byte more than ``most_bytes`` is asked for."""
    written = 0

    async def write(content: bytes) -> None:
        nonlocal written
        written += len(content)
        try:
            await asyncio.to_thread(file.write, content)
        except OSError as error:
            raise SpoolError from error

    line = f"UID FETCH {uid} (UID BODY.PEEK[{section}]<0.{most_bytes + 1}>)"
    sink = Sink(write=write, most_bytes=most_bytes + 1)
    try:
        found, _ = await session.ask(line.encode(), b"FETCH", sink=sink)
    except SpoolError as error:
        raise error.__cause__ or error from None
    values = [value for words in found for name, value in items_of(words).items() if name.startswith(b"BODY[")]
    if not values:
        raise MessageGoneError
    if not written and isinstance(values[0], bytes):
        # what is short may come as a word
        await write(values[0])
    if written > most_bytes and not may_be_cut:
        raise PartTooLargeError


def _decode(raw: Path, file: Path, encoding: str, max_bytes: int) -> None:
    """Runs in a thread; raises PartTooLargeError."""
    if encoding == "base64":
        _decode_base64(raw, file)
    elif encoding == "quoted-printable":
        with raw.open("rb") as packed, file.open("wb") as plain:
            while line := packed.readline(PART_BYTES):
                plain.write(a2b_qp(line))
    else:
        raw.replace(file)
    if file.stat().st_size > max_bytes:
        raise PartTooLargeError


def _decode_base64(raw: Path, file: Path) -> None:
    """Whatever else stands between the letters is left out, and what follows the end is not read."""
    left = b""
    with raw.open("rb") as packed, file.open("wb") as plain:
        while content := packed.read(PART_BYTES):
            letters = left + content.translate(None, NO_BASE64)
            letters, ending, _ = letters.partition(b"=")
            whole = len(letters) // 4 * 4
            plain.write(a2b_base64(letters[:whole]))
            left = letters[whole:]
            if ending:
                break
        if len(left) > 1:
            plain.write(a2b_base64(left + b"=" * (4 - len(left))))
