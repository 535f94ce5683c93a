"""What a message is made of, as its server tells: texts and attachments. All of it was written by strangers."""

import mimetypes
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Any
from urllib.parse import unquote_to_bytes

from app.sources.imap_names import clean_name, distinct_name

MOST_PARTS = 200
"""Parts of one message that are looked at."""
DEEPEST_PART = 30
MOST_PARAMETERS = 50
LONGEST_WORD = 1000
"""Of names and the like, in bytes; decoding one takes time that grows faster than it."""
UNREAD = frozenset(
    {
        "application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature",
        "application/pgp-encrypted", "application/ms-tnef",
    }
)  # fmt: skip
"""What programs attach for each other."""
OTHER = "application/octet-stream"
MAIL = "message/rfc822"
TEXTS = ("text/plain", "text/html")
WORD = re.compile(r"[^A-Za-z0-9._+-]+")
CONTINUED = re.compile(r"(?:file)?name\*(\d{1,3})(\*?)")
SUFFIXES = {MAIL: ".eml", "text/plain": ".txt", "text/html": ".html"}
DISPOSITION_AT = {"text": 9, "message/rfc822": 11}
ENCODED_SHARE = 57 / 78
"""Bytes of 57 become a line of 78."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a message that holds others no more.

    Attributes:
        section: what it is asked for by, as ``2.1``.
        octets: how long it is while it is encoded.
        name: of an attachment, clean; None of the message's own text.
    """

    section: str
    kind: str
    charset: str
    encoding: str
    octets: int
    name: str | None = None

    @property
    def size(self) -> int:
        """About how many bytes it has."""
        return int(self.octets * ENCODED_SHARE) if self.encoding == "base64" else self.octets


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a message is read from. ``is_cut`` says that it has more parts than are looked at."""

    texts: tuple[Part, ...] = ()
    attachments: tuple[Part, ...] = ()
    is_cut: bool = False

    def find(self, section: str) -> Part | None:
        """The attachment that has this section."""
        return next((part for part in self.attachments if part.section == section), None)


def read_structure(body: Any) -> Message:  # noqa: ANN401 — nested lists
    """A message of a ``BODYSTRUCTURE``.

    Raises:
        ValueError: if it is none.
    """
    leaves: list[tuple[Part, bool]] = []
    for leaf in _walk(body, (), 0, wanted=True):
        if len(leaves) == MOST_PARTS:
            return _sort(leaves, is_cut=True)
        leaves.append(leaf)
    return _sort(leaves, is_cut=False)


def _sort(leaves: Sequence[tuple[Part, bool]], *, is_cut: bool) -> Message:
    texts = tuple(part for part, is_chosen in leaves if part.name is None and is_chosen)
    attachments: dict[str, Part] = {}
    for part, _ in leaves:
        if part.name is not None:
            name = distinct_name(part.name, attachments)
            attachments[name] = Part(
                section=part.section,
                kind=part.kind,
                charset=part.charset,
                encoding=part.encoding,
                octets=part.octets,
                name=name,
            )
    return Message(texts=texts, attachments=tuple(attachments.values()), is_cut=is_cut)


def _walk(body: Any, place: tuple[int, ...], depth: int, *, wanted: bool) -> Iterator[tuple[Part, bool]]:  # noqa: ANN401 — nested lists
    """Parts in order, each with whether its text is the message's: of alternatives only one is."""
    if not isinstance(body, list) or not body:
        raise ValueError("no structure of a message")
    if not isinstance(body[0], list):
        part = _leaf(body, place or (1,))
        if part.kind not in UNREAD:
            yield part, wanted
        return
    if depth >= DEEPEST_PART:
        raise ValueError("parts inside of parts without an end")
    children = [child for child in body if isinstance(child, list)]
    # what follows the kind is not a child, though it may be a list
    first = next((index for index, child in enumerate(body) if not isinstance(child, list)), len(body))
    children = children[:first]
    is_choice = first < len(body) and _text(body[first]).lower() == "alternative"
    chosen = _choose(children) if is_choice else None
    for index, child in enumerate(children):
        is_wanted = wanted and chosen in {None, index}
        yield from _walk(child, (*place, index + 1), depth + 1, wanted=is_wanted)


def _choose(children: Sequence[Any]) -> int:
    """The alternative that is read: the plain one, if it says anything, else the richest that is a page."""
    kinds = [f"{_text(child[0])}/{_text(child[1])}".lower() if len(child) > 1 else "" for child in children]
    for index, child in enumerate(children):
        if kinds[index] == "text/plain" and len(child) > 6 and _number(child[6]) > 0:
            return index
    return len(children) - 1


def _leaf(body: Sequence[Any], place: Sequence[int]) -> Part:
    if len(body) < 7:
        raise ValueError("a part of a message without all that parts have")
    kind = f"{_text(body[0])}/{_text(body[1])}".lower()
    parameters = _pairs(body[2])
    at = DISPOSITION_AT.get(kind) or DISPOSITION_AT.get(_text(body[0]).lower(), 8)
    disposition, told = _disposition(body, at)
    name = find_name(told) or find_name(parameters)
    section = ".".join(map(str, place))
    is_text = kind in TEXTS and not name and disposition != "attachment"
    return Part(
        section=section,
        kind=kind,
        charset=WORD.sub("", parameters.get("charset", ""))[:40],
        encoding=WORD.sub("", _text(body[5])).lower()[:40],
        octets=_number(body[6]),
        name=None if is_text else _attachment_name(name, kind, section),
    )


def _disposition(body: Sequence[Any], at: int) -> tuple[str, Mapping[str, str]]:
    told = body[at] if len(body) > at else None
    if not isinstance(told, list) or not told:
        return "", {}
    return _text(told[0]).lower(), _pairs(told[1] if len(told) > 1 else None)


def _pairs(words: Any) -> dict[str, str]:  # noqa: ANN401 — a list, or something else
    if not isinstance(words, list):
        return {}
    pairs = zip(words[: 2 * MOST_PARAMETERS : 2], words[1 : 2 * MOST_PARAMETERS : 2], strict=False)
    return {_text(name).lower(): _text(value) for name, value in pairs}


def _text(word: Any) -> str:  # noqa: ANN401 — bytes, or something else
    return word[:LONGEST_WORD].decode("utf-8", "replace") if isinstance(word, bytes) else ""


def _number(word: Any) -> int:  # noqa: ANN401 — bytes, or something else
    if not isinstance(word, bytes) or not word.isdigit() or len(word) > 15:
        raise ValueError("a part of a message without its size")
    return int(word)


def _attachment_name(name: str, kind: str, section: str) -> str:
    suffix = SUFFIXES.get(kind) or mimetypes.guess_extension(kind) or ""
    cleaned = clean_name(name)
    if not cleaned:
        return f"part {section}{suffix}"
    if kind == OTHER:
        return cleaned
    return f"{cleaned}{suffix}" if "." not in cleaned or (kind == MAIL and not cleaned.endswith(".eml")) else cleaned


def find_name(parameters: Mapping[str, str]) -> str:
    """The name that parameters of a part give it, in any of the ways that there are; empty without one."""
    for name in ("filename*", "name*"):
        if name in parameters:
            return _decode_extended(parameters[name])
    pieces = {
        int(found[1]): (value, bool(found[2]))
        for name, value in parameters.items()
        if (found := CONTINUED.fullmatch(name)) is not None
    }
    if pieces:
        charset, _, rest = pieces[min(pieces)][0].partition("'") if pieces[min(pieces)][1] else ("", "", "")
        whole = b"".join(
            unquote_to_bytes(value) if is_encoded else value.encode()
            for _, (value, is_encoded) in sorted(pieces.items())
        )
        if rest:
            whole = whole.split(b"'", 2)[-1]
        return decode_bytes(whole, charset)
    return decode_words(parameters.get("filename") or parameters.get("name") or "")


def _decode_extended(value: str) -> str:
    """``utf-8'en'a%20b.txt`` (RFC 2231)."""
    charset, separator, rest = value.partition("'")
    if not separator:
        return decode_bytes(unquote_to_bytes(value), "")
    return decode_bytes(unquote_to_bytes(rest.partition("'")[2]), charset)


def decode_words(text: str) -> str:
    """A header with words in other scripts (RFC 2047), whatever is wrong with them."""
    try:
        words = decode_header(" ".join(text.split()))
    except (HeaderParseError, ValueError):
        return text
    return "".join(word if isinstance(word, str) else decode_bytes(word, charset or "") for word, charset in words)


def decode_bytes(content: bytes, charset: str) -> str:
    """Text, of a charset that may be unknown or not the one it is in."""
    try:
        return content.decode(charset or "utf-8", "replace")
    except (LookupError, ValueError):
        return content.decode("utf-8", "replace")


def read_subject(header: bytes) -> str:
    """The subject of a message's header, clean; empty without one."""
    name, _, value = header.partition(b":")
    if name.strip().lower() != b"subject":
        return ""
    return clean_name(decode_words(decode_bytes(value, "")))


def mime_header(part: Part) -> bytes:
    """The header of a text within the document that a message becomes."""
    charset = f'; charset="{part.charset}"' if part.charset else ""
    encoding = f"Content-Transfer-Encoding: {part.encoding}\r\n" if part.encoding else ""
    return f"Content-Type: {part.kind}{charset}\r\n{encoding}\r\n".encode()
