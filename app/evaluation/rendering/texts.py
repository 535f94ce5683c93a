"""Texts that anyone may have written, made fit to stand in a report.

They are cleaned and cut first, then escaped for where they stand; only what ``escape`` and ``escape_markdown`` give may
stand between markup.
"""

import html
import re
import unicodedata

# control characters and those that turn the direction of what follows; surrogates cannot even be written
UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
MARKS = re.compile(r"[\\`*_\[\]|~$#]")
BEGINNING = re.compile(r"^(\d{0,9})([-+=.)])(?=[-=\s]|$)")
"""What would make a list, or a line or a heading of a paragraph."""
MENTION = re.compile(r"(?<![\w@])@(?=\w)")
JOINER = "\N{ZERO WIDTH JOINER}"
UNPINGED = "@\N{WORD JOINER}"
MOST_PARTS = 16
"""Of one character that is made of several, as flags, families and accents are."""


def shorten(text: str, longest: int) -> str:
    """One line without control characters; ``…`` stands for the end of a longer one."""
    line = " ".join(text[: 4 * longest].split())
    line = UNFIT.sub("\N{REPLACEMENT CHARACTER}", line)
    if len(line) <= longest and len(text) <= 4 * longest:
        return line
    return line[: _find_end(line, longest - 1)].rstrip() + "…"


def escape(text: str) -> str:
    """For HTML, between tags and in quoted attributes."""
    return html.escape(text, quote=True)


def fit(text: str, longest: int) -> str:
    """Cut and escaped for HTML."""
    return escape(shorten(text, longest))


def escape_markdown(text: str) -> str:
    """For GitHub-flavoured Markdown, in paragraphs and cells of tables; nobody is notified by it."""
    marked = BEGINNING.sub(r"\1\\\2", MARKS.sub(r"\\\g<0>", unping(text)))
    return html.escape(marked, quote=False)


def unping(text: str) -> str:
    """Looks the same, but a forge that shows it does not notify the people and teams it names."""
    return MENTION.sub(UNPINGED, text)


def _find_end(line: str, longest: int) -> int:
    """Where a line may be cut without tearing apart what is seen as one character."""
    end = min(longest, len(line))
    for _ in range(MOST_PARTS):
        if end in {0, len(line)} or not (_is_attached(line[end]) or line[end - 1] == JOINER):
            break
        end -= 1
    return end


def _is_attached(character: str) -> bool:
    """Whether it changes the character before: accents, variants, skin tones, joiners."""
    return character == JOINER or unicodedata.category(character) in {"Mn", "Me", "Sk"}
