"""Source code: which files are, and where functions and classes begin. Indentation and names tell, not a parser."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from app.pipeline.chunking.boundaries import HEADING, LINE, LINE_AFTER_SENTENCE, PARAGRAPH, Boundary

SUFFIXES = frozenset(
    f".{ending}"
    for ending in re.findall(
        r"\w+",
        "bash c cc clj cpp cs cxx dart erl ex exs go gradle groovy h hh hpp hs java jl js jsx kt kts lua m ml mjs nim"
        " php pl pm proto ps1 py pyi r rb rs scala sh sql swift tf ts tsx vue zig zsh",
    )
)
TAB = 4
LINE_CHARACTERS = 200
"""As much of a line is looked at."""
LINES = re.compile(r"^(?P<indent>[ \t]*)(?P<rest>\S.*)$", re.MULTILINE)
DEFINITIONS = re.compile(
    r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|override|virtual|inline|pub"
    r"(?:\([a-z]+\))?|unsafe|extern|sealed|open|data|partial|local)\s+)*"
    r"(?:def|class|func|fun|fn|function|impl|trait|interface|struct|enum|union|namespace|module|mod|record|object|type"
    r"|protocol|extension|macro_rules!|sub|defmodule|defp|template|CREATE|create)\b"
    r"|(?:export\s+)?(?:const|let|var)\s+\w+\s*=\s*(?:async\s*)?(?:\([^)]*\)|\w+)\s*=>"
    r"|[\w:<>*&\[\], ]+\s[*&]*[\w:~]+\s*\([^;=]*\)\s*(?:const\s*)?(?:throws\s+[\w, ]+)?\{\s*$"
)
CONTROLS = re.compile(r"(?:if|else|for|while|switch|catch|return|do|try|with|match|unless|until|elif)\b|[})\]]")
LEADS = re.compile(r"@|#(?!\s*include\b|\s*define\b)|//|/\*|\*|\"\"\"|--|template\s*<|\[[A-Z]")
"""Lines that belong to the definition under them: decorators, comments, attributes."""


def is_code(path: str) -> bool:
    """Whether a file's name says that it holds source code."""
    return PurePosixPath(path.partition("#")[0]).suffix.lower() in SUFFIXES


def find_definitions(text: str) -> Iterator[Boundary]:
    """Lines: those before a function or class are the best, the less they are indented; then those after a gap.

    Decorators and comments over a definition stay with it.
    """
    lead: int | None = None
    lead_indent, previous_end = 0, 0
    for line in LINES.finditer(text):
        indent = len(line["indent"].expandtabs(TAB)) // 2
        after_gap = text.count("\n", previous_end, line.start()) > 1
        if after_gap or (lead is not None and lead_indent != indent):
            lead = None
        previous_end = line.end()
        is_definition = DEFINITIONS.match(line["rest"][:LINE_CHARACTERS]) and not CONTROLS.match(line["rest"])
        place = line.start() if lead is None else lead
        if place > 0:
            yield Boundary(place, _strength(indent, is_definition=bool(is_definition), after_gap=after_gap))
        if LEADS.match(line["rest"]) and not is_definition:
            lead, lead_indent = place, indent
        else:
            lead = None


def _strength(indent: int, *, is_definition: bool, after_gap: bool) -> int:
    depth = min(indent, 4)
    if is_definition:
        return HEADING - depth
    if after_gap:
        return PARAGRAPH + 2 - depth if depth < 2 else LINE_AFTER_SENTENCE
    return LINE if depth < 2 else LINE - 1
