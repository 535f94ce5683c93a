"""Messages of one folder, newest first, asked for in windows."""

import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.errors import SourceGarbageError
from app.sources.imap_client import Folder, ImapSession, RefusedError, items_of
from app.sources.imap_message import Message, read_structure, read_subject

WINDOW = 2000
DESCRIBED_AT_ONCE = 100
SUBJECT_BYTES = 2000
DESCRIBE = f"(UID BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (SUBJECT)]<0.{SUBJECT_BYTES}>)"
UID = re.compile(rb"\d{1,10}")
HIGHEST_UID = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a server tells of a message; ``message`` is None if that cannot be understood."""

    uid: int
    subject: str = ""
    message: Message | None = None


async def stream_uids(
    session: ImapSession, folder: Folder, criteria: str, *, window: int = WINDOW
) -> AsyncGenerator[list[int], None]:
    """UIDs of messages, the highest first, each once.

    Windows are of sequence numbers, so that no answer is larger than one of them. What is expunged meanwhile moves
    messages to lower numbers, where a later window finds them.
    """
    high, last = folder.messages, HIGHEST_UID + 1
    while (high := min(high, folder.messages - session.expunged)) > 0:
        low = max(1, high - window + 1)
        found, lost = await session.ask(f"UID SEARCH {low}:{high} {criteria}".encode(), b"SEARCH")
        if lost:
            raise SourceGarbageError(session.shown, "what is no list of messages")
        said = {int(word) for words in found for word in words[1:] if isinstance(word, bytes) and UID.fullmatch(word)}
        uids = sorted((uid for uid in said if 0 < uid < last), reverse=True)
        if uids:
            last = uids[-1]
            yield uids
        high = low - 1


async def describe_messages(session: ImapSession, uids: Sequence[int]) -> list[Described]:
    """What messages are made of, in the order of ``uids``; those that are gone meanwhile are missing."""
    wanted = ",".join(map(str, uids))
    try:
        found, lost = await session.ask(f"UID FETCH {wanted} {DESCRIBE}".encode(), b"FETCH")
    except RefusedError:
        # some servers refuse all for one that they cannot tell themselves
        if len(uids) == 1:
            return [Described(uid=uids[0])]
        middle = len(uids) // 2
        return await describe_messages(session, uids[:middle]) + await describe_messages(session, uids[middle:])
    described: dict[int, Described] = {}
    for words in found:
        items = items_of(words)
        uid = items.get(b"UID")
        if isinstance(uid, bytes) and UID.fullmatch(uid) and b"BODYSTRUCTURE" in items:
            described.setdefault(int(uid), _read(int(uid), items))
    if lost:
        for uid in uids:
            described.setdefault(uid, Described(uid=uid))
    return [described[uid] for uid in uids if uid in described]


def _read(uid: int, items: dict[bytes, Any]) -> Described:
    header = next((value for name, value in items.items() if name.startswith(b"BODY[")), None)
    subject = read_subject(header) if isinstance(header, bytes) else ""
    try:
        message = read_structure(items.get(b"BODYSTRUCTURE"))
    except ValueError:
        message = None
    return Described(uid=uid, subject=subject, message=message)
