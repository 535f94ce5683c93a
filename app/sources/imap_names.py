"""Names of mailboxes: their URLs, as RFC 5092 writes them, and what servers call folders."""

import re
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from app.domain.errors import UnsupportedSourceError

DEFAULT_PORTS = {"imap": 143, "imaps": 993}
MESSAGE = re.compile(
    r"/(?P<folder>[^;]*);UIDVALIDITY=(?P<validity>\d+)/;UID=(?P<uid>\d+)(?:/;SECTION=(?P<section>[\d.]+))?"
)
SHIFTED = re.compile(r"&([A-Za-z0-9+,]*)-")
FOREIGN = re.compile(r"[^\x20-\x7e]+|&")
LONGEST_NAME = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxUrl:
    """Where a mailbox is.

    Attributes:
        base: ``imaps://host`` or ``imaps://host:1993``, written one way.
        folders: the names that lead to the folder it begins at; none stand for all folders.
    """

    base: str
    host: str
    port: int
    is_tls: bool
    folders: tuple[str, ...]

    @classmethod
    def of(cls, url: str) -> "MailboxUrl":
        """Read a URL.

        Raises:
            UnsupportedSourceError: if it is none of a mailbox.
        """
        try:
            parts = urlsplit(url.strip())
            scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
            if scheme not in DEFAULT_PORTS or not host or parts.query or parts.fragment or ";" in parts.path:
                raise UnsupportedSourceError("a mailbox is written imaps://HOST/FOLDER, its folder being optional")
            name = host if host.isascii() else host.encode("idna").decode()
        except (ValueError, UnicodeError):
            raise UnsupportedSourceError("that is no URL; see whether its host and its port are written well") from None
        folders = tuple(unquote(part) for part in parts.path.split("/") if part)
        if not all(part.isprintable() for part in folders):
            raise UnsupportedSourceError("the folder of a mailbox has characters that no folder has")
        shown = f"[{name}]" if ":" in name else name
        place = shown if port in {None, DEFAULT_PORTS[scheme]} else f"{shown}:{port}"
        return cls(
            base=f"{scheme}://{place}",
            host=name,
            port=port or DEFAULT_PORTS[scheme],
            is_tls=scheme == "imaps",
            folders=folders,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePlace:
    """A message, or a part of one."""

    folder: str
    validity: int
    uid: int
    section: str | None = None

    @classmethod
    def of(cls, uri: str, base: str) -> "MessagePlace | None":
        """What a document's URI says; None if it is none of this server."""
        found = MESSAGE.fullmatch(uri.removeprefix(base)) if uri.startswith(base) else None
        if found is None:
            return None
        return cls(
            folder=unquote(found["folder"]),
            validity=int(found["validity"]),
            uid=int(found["uid"]),
            section=found["section"],
        )

    def uri(self, base: str) -> str:
        """Its URI, which stays as long as the folder has this validity."""
        part = "" if self.section is None else f"/;SECTION={self.section}"
        return f"{beginning_of(base, self.folder)};UIDVALIDITY={self.validity}/;UID={self.uid}{part}"


def beginning_of(base: str, folder: str) -> str:
    """How the URIs of all messages in a folder begin, but for the ``;`` after it."""
    return f"{base}/{quote(folder, safe='/')}"


def decode_folder(name: bytes) -> str:
    """What a server's name means (RFC 3501, 5.1.3).

    Raises:
        ValueError: if it would be written in another way, so that nobody could ask for it again.
    """
    text = name.decode("ascii")
    decoded = SHIFTED.sub(_decode_shifted, text)
    if encode_folder(decoded) != name:
        raise ValueError("a folder with a name that is not written well")
    return decoded


def _decode_shifted(found: re.Match[str]) -> str:
    packed = found[1]
    if not packed:
        return "&"
    padded = packed.replace(",", "/") + "=" * (-len(packed) % 4)
    return b64decode(padded).decode("utf-16-be")


def encode_folder(name: str) -> bytes:
    """The server's name of a folder."""
    return FOREIGN.sub(_encode_shifted, name).encode("ascii")


def _encode_shifted(found: re.Match[str]) -> str:
    if found[0] == "&":
        return "&-"
    packed = b64encode(found[0].encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
    return f"&{packed}-"


def clean_name(name: str) -> str:
    """A name that strangers chose as one step of a path: no folders, dots in front or characters nobody sees."""
    # of an absurd one how it begins and ends
    part = name if len(name) <= 20 * LONGEST_NAME else name[: 10 * LONGEST_NAME] + name[-10 * LONGEST_NAME :]
    shown = "".join(" " if char in "/\\" or unicodedata.category(char)[0] in "CZ" else char for char in part)
    shown = " ".join(unicodedata.normalize("NFC", shown).split()).strip(" .")
    if len(shown) <= LONGEST_NAME:
        return shown
    stem, dot, suffix = shown.rpartition(".")
    if not dot or len(suffix) > 10:
        return shown[:LONGEST_NAME].strip(" .")
    return f"{stem[: LONGEST_NAME - len(suffix) - 1].strip(' .')}.{suffix}"


def distinct_name(name: str, taken: Iterable[str]) -> str:
    """The name, or with a number in front if there is one of it already."""
    others = set(taken)
    if name not in others:
        return name
    return next(f"{number} {name}" for number in range(2, len(others) + 3) if f"{number} {name}" not in others)
