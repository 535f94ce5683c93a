"""What pages and sitemaps lead to. Runs in child processes, for pages may be large and are somebody else's."""

import html
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

from app.sources.web_urls import find_link

MOST_LINKS = 5000
MOST_ENTRIES = 50_000
"""What the format itself allows a sitemap to hold."""
GZIP_MAGIC = b"\x1f\x8b"
WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
ENTRY = re.compile(r"<(url|sitemap)\b[^>]*>(.*?)</\1\s*>", re.DOTALL | re.IGNORECASE)
PLACE = re.compile(r"<loc\b[^>]*>(.*?)</loc\s*>", re.DOTALL | re.IGNORECASE)
MODIFIED = re.compile(r"<lastmod\b[^>]*>(.*?)</lastmod\s*>", re.DOTALL | re.IGNORECASE)
INDEX = re.compile(r"<sitemapindex\b", re.IGNORECASE)
LITERAL = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)


class _Links(HTMLParser):
    """Collects what is linked to, and what robots are told."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: dict[str, None] = {}
        self.base: str | None = None
        self.orders: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See the library."""
        said = {name: value or "" for name, value in attrs}
        if tag in {"a", "area"} and said.get("href") and "nofollow" not in said.get("rel", "").lower().split():
            if len(self.links) < MOST_LINKS:
                self.links[said["href"]] = None
        elif tag == "base" and self.base is None:
            self.base = said.get("href")
        elif tag == "meta" and said.get("name", "").lower() in {"robots", "vecloom"}:
            self.orders.update(order.strip() for order in said.get("content", "").lower().split(","))


def read_links(path: str, max_bytes: int, url: str) -> tuple[tuple[str, ...], bool]:
    """Of the page of a URL: where its links lead, each once and in order, and whether it may be indexed."""
    parser = _Links()
    parser.feed(_decode(_read(path, max_bytes)))
    parser.close()
    is_wanted = not {"noindex", "none"} & parser.orders
    if {"nofollow", "none"} & parser.orders:
        return (), is_wanted
    base = url if parser.base is None else find_link(url, parser.base) or url
    found = dict.fromkeys(find_link(base, link) for link in parser.links)
    return tuple(link for link in found if link is not None and link != url), is_wanted


def read_sitemap(path: str, max_bytes: int) -> tuple[bool, list[tuple[str, str | None]]]:
    """Of a sitemap, packed or not: whether it lists other sitemaps, and its entries as ``(place, modified)``.

    A file with one URL a line is a sitemap too. A place that is no whole URL of a page is left out.
    """
    text = _decode(_unpack(_read(path, max_bytes), max_bytes))
    if "<" not in text[:1000]:
        places = (find_link("", line) for line in text.splitlines()[:MOST_ENTRIES])
        return False, [(place, None) for place in places if place is not None]
    entries: list[tuple[str, str | None]] = []
    for entry in ENTRY.finditer(text):
        said, modified = PLACE.search(entry.group(2)), MODIFIED.search(entry.group(2))
        place = None if said is None else find_link("", _text(said.group(1)))
        if place is not None and len(entries) < MOST_ENTRIES:
            entries.append((place, _text(modified.group(1)) if modified else None))
    return INDEX.search(text) is not None, entries


def _read(path: str, max_bytes: int) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(max_bytes)


def _unpack(content: bytes, max_bytes: int) -> bytes:
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(content, max_bytes)
    except zlib.error:
        return b""


def _decode(content: bytes) -> str:
    return content.decode("utf-16" if content.startswith(WIDE_MARKS) else "utf-8-sig", "replace")


def _text(inner: str) -> str:
    return html.unescape(LITERAL.sub(r"\1", inner)).strip()
