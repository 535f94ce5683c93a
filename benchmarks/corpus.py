"""Writes a folder of made-up documents: any number of them, and the same ones every time.

The words, and which word follows which, are those of the repository's own documentation, so word frequencies, sentence
lengths and the sharing of terms between documents are close to real prose. Sizes are log-normal, mostly 2 to 20 KB.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from random import Random

DOCS = Path(__file__).resolve().parents[1]
MEDIAN_BYTES = 6_300
SPREAD = 0.58
"""Standard deviation of the logarithm: 95 % of the sizes lie within a factor of 3.2 around the median."""
SMALLEST_BYTES, LARGEST_BYTES = 1_000, 40_000
DOCUMENTS_PER_FOLDER = 100

_CODE = re.compile(r"```.*?```|`[^`]*`|!?\[[^\]]*\]\([^)]*\)", re.DOTALL)
_WORD = re.compile(r"[A-Za-z][a-z]+(?:-[a-z]+)*")
_SENTENCE_END = re.compile(r"[.!?:]\s|\n\s*\n|\|")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One made-up document before it gets a format. Each section is a heading and its paragraphs."""

    title: str
    sections: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What was written where."""

    folder: Path
    paths: tuple[Path, ...]
    bytes: int


class Prose:
    """Makes sentences in which every word follows one that it follows in the documentation."""

    def __init__(self, source: str, random: Random) -> None:
        self._random = random
        self._starts: list[str] = []
        self._next: dict[str, list[str]] = defaultdict(list)
        for part in _SENTENCE_END.split(_CODE.sub(" ", source)):
            words = _WORD.findall(part.lower())
            if len(words) < 4:
                continue
            self._starts.append(words[0])
            for word, follower in pairwise(words):
                self._next[word].append(follower)
        self._words = sorted(self._next)

    def words(self, count: int) -> list[str]:
        """``count`` words in a row."""
        pick = self._random.choice
        word = pick(self._starts)
        words = [word]
        while len(words) < count:
            word = pick(self._next.get(word) or self._starts)
            words.append(word)
        return words

    def sentence(self) -> str:
        """6 to 24 words with a capital and a full stop."""
        return " ".join(self.words(self._random.randint(6, 24))).capitalize() + "."

    def paragraph(self) -> str:
        """2 to 6 sentences."""
        return " ".join(self.sentence() for _ in range(self._random.randint(2, 6)))

    def title(self) -> str:
        """2 to 5 different words."""
        return " ".join(self._random.sample(self._words, self._random.randint(2, 5))).capitalize()


def render_markdown(text: Text) -> str:
    """Headings with ``#``, paragraphs apart."""
    parts = [f"# {text.title}"]
    for heading, paragraphs in text.sections:
        parts += [f"## {heading}", *paragraphs]
    return "\n\n".join(parts) + "\n"


def render_html(text: Text) -> str:
    """A page with a title, headings and paragraphs."""
    body = "\n".join(
        f"<h2>{escape(heading)}</h2>\n" + "\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)
        for heading, paragraphs in text.sections
    )
    head = f'<meta charset="utf-8"><title>{escape(text.title)}</title>'
    return (
        f"<!doctype html>\n<html><head>{head}</head>\n<body>\n<h1>{escape(text.title)}</h1>\n{body}\n</body></html>\n"
    )


def render_text(text: Text) -> str:
    """Headings in capitals, paragraphs apart."""
    parts = [text.title.upper()]
    for heading, paragraphs in text.sections:
        parts += [heading.upper(), *paragraphs]
    return "\n\n".join(parts) + "\n"


RENDERERS: dict[str, Callable[[Text], str]] = {"md": render_markdown, "html": render_html, "txt": render_text}
WEIGHTS = {"md": 6, "html": 2, "txt": 2}
"""How often each file type is drawn."""


def draw_size(random: Random) -> int:
    """A size in bytes."""
    size = random.lognormvariate(0, SPREAD) * MEDIAN_BYTES
    return round(min(max(size, SMALLEST_BYTES), LARGEST_BYTES))


def make_text(number: int, prose: Prose, random: Random) -> Text:
    """One document of about a drawn size. Its title ends with its number, so that no two are the same."""
    left = draw_size(random)
    sections: list[tuple[str, tuple[str, ...]]] = []
    while left > 0:
        paragraphs = tuple(prose.paragraph() for _ in range(random.randint(1, 4)))
        sections.append((prose.title(), paragraphs))
        left -= sum(len(paragraph) for paragraph in paragraphs)
    return Text(title=f"{prose.title()} {number}", sections=tuple(sections))


def read_documentation() -> str:
    """The prose the corpus is made from."""
    paths = [DOCS / "README.md", *sorted((DOCS / "docs").rglob("*.md"))]
    return "\n\n".join(path.read_text(encoding="utf-8") for path in paths)


def stream_files(documents: int, *, seed: int = 42) -> Iterator[tuple[str, str]]:
    """Relative path and content of each document, in the order of their numbers."""
    random = Random(seed)
    prose = Prose(read_documentation(), random)
    kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
    for number in range(documents):
        text = make_text(number, prose, random)
        kind = random.choices(kinds, weights)[0]
        name = text.title.lower().replace(" ", "-")
        yield f"part-{number // DOCUMENTS_PER_FOLDER:04d}/{name}.{kind}", RENDERERS[kind](text)


def write_corpus(folder: Path, documents: int, *, seed: int = 42) -> Corpus:
    """Write ``documents`` files below ``folder``, 100 to a sub-folder; existing files of the same name are replaced."""
    paths: list[Path] = []
    size = 0
    for name, content in stream_files(documents, seed=seed):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size += path.write_bytes(content.encode())
        paths.append(path)
    return Corpus(folder=folder, paths=tuple(paths), bytes=size)
