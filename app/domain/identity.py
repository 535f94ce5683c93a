"""Deterministic ids, so that doing a thing twice gives the same rows and points."""

import hashlib
import os
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes, urlsplit
from uuid import UUID, uuid5

from app.domain.documents import Locator
from app.domain.uploads import URL as UPLOADED


def document_id(collection_id: UUID, uri: str) -> UUID:
    """Id of the document at ``uri`` in a collection."""
    return uuid5(collection_id, uri)


def text_hash(text: str) -> bytes:
    """sha256 of a text's UTF-8 bytes, 32 bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def chunk_ids(document: UUID, texts: Iterable[str]) -> list[UUID]:
    """Ids of a document's chunks: the same text keeps its id wherever it moves.

    The n-th occurrence of a text inside the document gets its own id. The collection is part of the id
    through ``document``, which is derived from it.
    """
    seen: dict[bytes, int] = {}
    ids = []
    for text in texts:
        digest = text_hash(text)
        occurrence = seen.get(digest, 0)
        seen[digest] = occurrence + 1
        name = f"{digest.hex()}:{occurrence}".encode()
        # what uuid5 does, without its detours: this is done for every chunk
        ids.append(UUID(bytes=hashlib.sha1(document.bytes + name, usedforsecurity=False).digest()[:16], version=5))
    return ids


def locator_of(uri: str, *, offset: int | None = None, length: int | None = None) -> Locator:
    """Where the bytes of a ``file:`` document lie; file names that are not UTF-8 survive the way through a URI.

    ``!/`` leads into an archive: in any name ``!`` is written as ``%21``. Others have to be fetched; the path of an
    uploaded one is the URI of what was sent.
    """
    if uri.startswith(UPLOADED):
        sent, *inside = uri.partition("#")[0].split("!/")
        names = tuple(os.fsdecode(unquote_to_bytes(part)) for part in inside)
        return Locator(path=sent, offset=offset, length=length, members=names)
    if not uri.startswith("file:"):
        return Locator(path=uri, offset=offset, length=length)
    path, *members = (os.fsdecode(unquote_to_bytes(part)) for part in urlsplit(uri).path.split("!/"))
    return Locator(path=path, offset=offset, length=length, members=tuple(members))
