"""What a collection must hold after each kind of operation: dictionaries, and nothing of the application.

A document has what was last indexed of it, the state its last reading left it in, and the sources that have it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from tests.property.contents import Content

GUARD_FROM = 20
"""The smallest source from which an unconfirmed APPEND does not remove more than half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document; ``content`` is what its chunks are of, None if it has none."""

    content: Content | None
    state: str
    code: str | None
    sources: frozenset[str]

    def __str__(self) -> str:
        """Short enough for a line."""
        indexed = self.content.name if self.content else "nothing"
        return f"{self.state}{f' ({self.code})' if self.code else ''} {indexed} of {sorted(self.sources)}"


Documents = dict[str, Document]
"""By path; what is removed is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """An APPEND of one source.

    Attributes:
        root: the source's folder.
        removes: whether what is gone is to be removed.
        settles: whether it says anything about what is gone: it is full.
        confirmed: whether most of the source may be removed.
    """

    root: str
    removes: bool
    settles: bool
    confirmed: bool


def is_below(path: str, root: str) -> bool:
    """Whether a source over this folder has the file."""
    return not root or path.startswith(f"{root}/")


def read(before: Document | None, content: Content, sources: frozenset[str]) -> Document:
    """A document that was read: what was indexed of it before stays if it cannot be read now."""
    if content.code is None:
        return Document(content=content, state="completed", code=None, sources=sources)
    state = "needs_ocr" if content.code == "needs_ocr" else "failed"
    return Document(content=before.content if before else None, state=state, code=content.code, sources=sources)


def append(documents: Documents, files: Mapping[str, Content], how: Append) -> tuple[Documents, bool]:
    """Documents after an APPEND that came to its end, and whether the guard has stopped it."""
    after = dict(documents)
    found = {path: content for path, content in files.items() if is_below(path, how.root)}
    for path, content in found.items():
        before = documents.get(path)
        after[path] = read(before, content, (before.sources if before else frozenset()) | {how.root})
    gone = [path for path, document in documents.items() if how.root in document.sources and path not in found]
    alone = [path for path in gone if documents[path].sources == {how.root}]
    known = len(found) + len(alone)
    if how.settles and how.removes and not how.confirmed and known >= GUARD_FROM and 2 * len(alone) > known:
        return after, True
    for path in gone if how.settles else ():
        left = lose(documents[path], how.root, removes=how.removes)
        if left is None:
            del after[path]
        else:
            after[path] = left
    return after, False


def lose(document: Document, root: str, *, removes: bool) -> Document | None:
    """A document that a source does not have any more; None if nobody has it then."""
    if document.sources != {root}:
        return replace(document, sources=document.sources - {root})
    if removes:
        return None
    if document.state != "pending":
        return document
    return replace(document, state="completed") if document.content else None


def remove_source(documents: Documents, root: str) -> Documents:
    """Documents after REMOVE_SOURCE."""
    left = {
        path: lose(document, root, removes=True) if root in document.sources else document
        for path, document in documents.items()
    }
    return {path: document for path, document in left.items() if document is not None}


def retry(documents: Documents, files: Mapping[str, Content], chosen: Collection[str]) -> Documents:
    """Documents after these were tried again, as far as they had failed; no source is looked at for others."""
    after = dict(documents)
    for path in chosen:
        before = documents[path]
        if before.state not in ("failed", "needs_ocr"):
            continue
        content = files.get(path)
        if content is None:
            after[path] = replace(before, state="failed", code="file_vanished")
        else:
            after[path] = read(before, content, before.sources)
    return after


def may_be(found: Document | None, before: Document | None, after: Document | None) -> bool:
    """Whether an operation that was stopped may have left a document so: as it was, as it was to be, or waiting."""
    if found in (before, after):
        return True
    if found is None:
        return False
    sources = [document.sources for document in (before, after) if document is not None]
    if not any(found.sources == some for some in sources):
        return False
    as_read = [(d.content, d.state, d.code) for d in (before, after) if d is not None]
    waiting = (before.content if before else None, "pending", None)
    return (found.content, found.state, found.code) in (*as_read, waiting)


def may_be_of_either(found: Document | None, old: Document | None, new: Document | None) -> bool:
    """Whether an APPEND may have left a document so whose file changed meanwhile: as before that, as after, or lost.

    ``old`` and ``new`` are what it would be had its file always been as it was before, or as it was after.
    """
    if found in (old, new):
        return True
    return found is not None and old is not None and found.code == "file_vanished" and found.sources == old.sources
