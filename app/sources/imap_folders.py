"""The folders of a mailbox."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.sources.imap_client import ImapSession, quoted
from app.sources.imap_names import MailboxUrl, clean_name, decode_folder, encode_folder

MOST_FOLDERS = 5000
LONGEST_FOLDER = 500
"""Bytes of its whole name."""
CLOSED = frozenset({b"\\NOSELECT", b"\\NONEXISTENT"})
SPECIAL = frozenset({b"\\ALL", b"\\FLAGGED", b"\\IMPORTANT", b"\\JUNK", b"\\TRASH", b"\\DRAFTS"})
"""What shows messages of other folders again, and what nobody wants to find."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderEntry:
    """A folder below the one a source begins at.

    Attributes:
        name: the whole name, as its server has it.
        path: below the root, for people; empty for the root.
        is_special: it is left out unless the source names it.
    """

    name: str
    path: str
    is_closed: bool
    is_special: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderList:
    """What there is. ``is_cut`` says that some folders could not be told."""

    root: str
    delimiter: str
    folders: tuple[FolderEntry, ...]
    is_cut: bool


async def list_folders(session: ImapSession, place: MailboxUrl, *, subfolders: bool) -> FolderList:
    """The folder a source begins at and, with ``subfolders``, those below it, in order; none if it is not there.

    Raises:
        DomainError, RefusedError: see ``ImapSession.run``.
    """
    answers, _ = await session.ask(b'LIST "" ""', b"LIST")
    delimiter = next((_decode(words[2]) for words in answers if len(words) == 4), "") or "/"
    root = delimiter.join(place.folders)
    if root.upper() == "INBOX":
        root = "INBOX"
    found: dict[str, FolderEntry] = {}
    is_cut = False
    patterns = [encode_folder(root)] if root else []
    if subfolders or not root:
        patterns.append(encode_folder(f"{root}{delimiter}") + b"*" if root else b"*")
    for pattern in patterns:
        answers, lost = await session.ask(b'LIST "" ' + quoted(pattern), b"LIST")
        is_cut = is_cut or lost > 0
        for words in answers:
            entry = _read_entry(words, root, delimiter)
            if entry is None or len(found) >= MOST_FOLDERS:
                is_cut = True
            elif not root or entry.name == root or entry.name.startswith(f"{root}{delimiter}"):
                found[entry.name] = entry
    folders = tuple(sorted(found.values(), key=lambda entry: entry.path))
    return FolderList(root=root, delimiter=delimiter, folders=folders, is_cut=is_cut)


def _decode(word: Any) -> str:  # noqa: ANN401 — bytes, or something else
    return word.decode("ascii", "replace") if isinstance(word, bytes) else ""


def _read_entry(words: Sequence[Any], root: str, delimiter: str) -> FolderEntry | None:
    if len(words) != 4 or not isinstance(words[1], list) or not isinstance(words[3], bytes):
        return None
    if len(words[3]) > LONGEST_FOLDER:
        return None
    try:
        name = decode_folder(words[3])
    except ValueError:
        return None
    if not name.isprintable():
        return None
    attributes = {word.upper() for word in words[1] if isinstance(word, bytes)}
    name = "INBOX" if name.upper() == "INBOX" else name
    below = name[len(root) :] if root else name
    return FolderEntry(
        name=name,
        path="/".join(clean for step in below.split(delimiter) if (clean := clean_name(step))),
        is_closed=bool(attributes & CLOSED),
        is_special=bool(attributes & SPECIAL) and name != root,
    )
