"""Text formats: bytes of any encoding to text."""

import html
import re

from charset_normalizer import from_bytes

from app.pipeline.extract.result import Extracted

SAMPLE_BYTES = 16 * 1024
MARKS = {
    b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16",
}  # fmt: skip
LEGACY = [
    "cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "iso8859_2", "iso8859_5",
    "shift_jis", "cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "euc_kr", "cp949", "cp866", "mac_roman",
]  # fmt: skip
"""Encodings that people's files have; others are guessed wrong more often than they are met."""
MOST_BROKEN = 0.02
"""A text with a smaller share of bad bytes among its non-ASCII ones is damaged UTF-8, not another encoding."""
DECLARED = re.compile(rb"""(?:encoding|charset)\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""")
CENTRAL = re.compile(rb"(?<=[A-Za-z\x80-\xff])[\xb3\xb9\xbf\x9a\x9c\x9d\x9e\x9f\xec\xbe\xba\xfe]")
HEADING = re.compile(r"^#{1,2}[ \t]+(\S.*?)[ \t]*#*$", re.MULTILINE)
HEADING_CHARACTERS = 20_000
NO_TEXT = re.compile(r"<!--.*?-->|<\?.*?\?>|<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>", re.DOTALL)
LITERAL = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
TAG = re.compile(r"<[/A-Za-z_][^<>]*>")
BLANKS = re.compile(r"[ \t\r]*\n\s*")


def decode(content: bytes) -> str:
    """Text of bytes in any encoding; UTF-8 unless that is impossible."""
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    if b"\x00" in content[:SAMPLE_BYTES] and (wide := guess_wide_encoding(content[:SAMPLE_BYTES])) is not None:
        return content.decode(wide, "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _decode_legacy(content)


def guess_wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 by its mark, or UTF-16 by its zeros; None if it is neither."""
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    even, odd = head[::2], head[1::2]
    for encoding, high, low in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if high.count(0) * 2 > len(high) and not low.count(0):
            text = head[: len(head) // 2 * 2].decode(encoding, "ignore")
            return encoding if all(char.isprintable() or char.isspace() for char in text) else None
    return None


def _decode_legacy(content: bytes) -> str:
    text = content.decode("utf-8", "replace")
    wide = sum(1 for byte in content[:SAMPLE_BYTES] if byte >= 0x80)
    if text[:SAMPLE_BYTES].count("\ufffd") <= MOST_BROKEN * wide:
        return text
    return content.decode(_guess_legacy(content), "replace")


def _guess_legacy(content: bytes) -> str:
    """The encoding a text says it has, or the likeliest one of those that can decode it."""
    if (declared := DECLARED.search(content[:1024])) is not None:
        try:
            name = declared.group(1).decode()
            content.decode(name)
        except (LookupError, ValueError):
            pass
        else:
            return name
    sample = _sample(content)
    best = from_bytes(sample, cp_isolation=LEGACY, enable_fallback=False).best()
    if best is None or (best.encoding == "cp1250" and not _is_central_european(sample)):
        return "cp1252"
    return best.encoding


def _is_central_european(sample: bytes) -> bool:
    """Polish, Czech and their neighbours use letters that Western Europe has no letters for."""
    letters = sum(1 for byte in sample if byte >= 0x80)
    return len(CENTRAL.findall(sample)) * 20 >= letters


def _sample(content: bytes) -> bytes:
    """Whole lines around the first byte that is not ASCII, so that no character is cut and not all is pure ASCII."""
    first = next((place for place, byte in enumerate(content) if byte >= 0x80), 0)
    start = content.rfind(b"\n", 0, first) + 1
    part = content[max(start, first - 1024) : first + SAMPLE_BYTES]
    end = part.rfind(b"\n")
    return part[:end] if end > SAMPLE_BYTES // 2 else part


def find_heading(text: str) -> str | None:
    """The first heading of a Markdown text."""
    heading = HEADING.search(text[:HEADING_CHARACTERS])
    return heading.group(1) if heading else None


def extract_text(content: bytes, mime_type: str) -> Extracted:
    """A text as it is."""
    text = decode(content)
    return Extracted(text=text, mime_type=mime_type, title=find_heading(text) if mime_type == "text/markdown" else None)


def extract_xml(content: bytes, mime_type: str) -> Extracted:
    """What stands between the tags, one line each; damaged XML gives what is there."""
    return Extracted(text=strip_tags(decode(content)), mime_type=mime_type)


def strip_tags(text: str) -> str:
    """The character data of XML, its entities resolved, one line for each element."""
    kept = LITERAL.sub(lambda literal: html.escape(literal.group(1)), NO_TEXT.sub("", text))
    return BLANKS.sub("\n", html.unescape(TAG.sub("\n", kept))).strip()
