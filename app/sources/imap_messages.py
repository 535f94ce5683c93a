"""What a scan remembers of a message, so that it need not ask for it again."""

from dataclasses import dataclass

from app.domain.documents import KnownDocument
from app.sources.imap_scan import Described


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An attachment; ``size`` is a guess in bytes."""

    section: str
    size: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A message as a scan lists it.

    Attributes:
        stem: its name without ``.eml``; its attachments lie in a folder of that name.
        size: bytes of its texts.
        is_cut: it has more parts than are looked at.
        is_broken: nobody can say what it is made of; it is asked for again.
    """

    uid: int
    stem: str
    size: int = 0
    attachments: tuple[Held, ...] = ()
    is_cut: bool = False
    is_broken: bool = False

    def to_links(self) -> tuple[str, ...]:
        """What is stored with it."""
        if self.is_broken:
            return ()
        return (self.stem, *(f"{held.section} {held.size} {held.name}" for held in self.attachments))


def describe(described: Described) -> Listed:
    """What a server has told of a message."""
    stem, message = f"{described.uid} {described.subject}".strip(), described.message
    if message is None:
        return Listed(uid=described.uid, stem=stem, is_broken=True)
    return Listed(
        uid=described.uid,
        stem=stem,
        size=sum(part.octets for part in message.texts),
        attachments=tuple(
            Held(section=part.section, size=part.size, name=part.name or "") for part in message.attachments
        ),
        is_cut=message.is_cut,
    )


def from_known(uid: int, known: KnownDocument) -> Listed | None:
    """What was stored; None if it cannot be read."""
    if not known.links:
        return None
    stem, *held = known.links
    words = [item.split(" ", 2) for item in held]
    if any(len(word) != 3 or not word[1].isdigit() for word in words):
        return None
    attachments = tuple(Held(section=section, size=int(size), name=name) for section, size, name in words)
    return Listed(uid=uid, stem=stem, size=known.size, attachments=attachments)
