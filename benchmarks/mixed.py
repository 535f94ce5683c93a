"""Writes a folder as people have them: Markdown, PDF, office files, mail, tables, source code; the same every time.

File ``n`` depends on the seed and on ``n`` alone, so it can be written again with a change in it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from benchmarks.corpus import DOCUMENTS_PER_FOLDER, Corpus, Prose, Text, read_documentation
from benchmarks.formats import FORMATS

FILES = 2_400
WEIGHTS = {
    "md": 20, "txt": 12, "html": 12, "pdf": 15, "docx": 6, "csv": 5, "json": 6, "py": 12, "eml": 8, "xlsx": 2,
    "pptx": 2,
}  # fmt: skip
"""How often each file type is drawn, in percent."""

MEDIAN_BYTES = 4_000
SPREAD = 1.1
"""Standard deviation of the logarithm: one file in twenty holds more than six times the median."""
SMALLEST_BYTES, LARGEST_BYTES = 400, 250_000
LONGER = {"pdf": 3.0, "docx": 2.0, "csv": 2.0}
"""How many times as much text as others such files hold."""

EDITS = {"insert": 7, "rewrite": 1, "delete": 1, "add": 1}
"""What happens to the files that change, in tenths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Relative paths by what happened to them."""

    insert: tuple[str, ...]
    rewrite: tuple[str, ...]
    delete: tuple[str, ...]
    add: tuple[str, ...]

    def __len__(self) -> int:
        """How many files changed."""
        return len(self.insert) + len(self.rewrite) + len(self.delete) + len(self.add)


class Author:
    """Writes file ``n`` of a seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = Random(seed)
        self._prose = Prose(read_documentation(), self._random)

    def write(self, number: int, *, edit: str = "", edition: int = 0) -> tuple[str, bytes]:
        """Relative path and content; ``insert`` adds a paragraph to it, ``rewrite`` writes all of it anew."""
        self._random.seed(f"{self._seed}:{number}")
        kind = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        title = f"{self._prose.title()} {number}"
        if edit == "rewrite":
            self._random.seed(f"{self._seed}:{number}:{edition}")
        text = Text(title=title, sections=tuple(self._sections(kind)))
        if edit == "insert":
            self._random.seed(f"{self._seed}:{number}:{edition}")
            text = self._insert(text)
        name = title.lower().replace(" ", "-")
        return f"part-{number // DOCUMENTS_PER_FOLDER:04d}/{name}.{kind}", FORMATS[kind](text)

    def _sections(self, kind: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        size = self._random.lognormvariate(0, SPREAD) * MEDIAN_BYTES * LONGER.get(kind, 1.0)
        left = round(min(max(size, SMALLEST_BYTES), LARGEST_BYTES))
        while left > 0:
            paragraphs = tuple(self._prose.paragraph() for _ in range(self._random.randint(1, 5)))
            yield self._prose.title(), paragraphs
            left -= sum(len(paragraph) for paragraph in paragraphs)

    def _insert(self, text: Text) -> Text:
        sections = list(text.sections)
        place = self._random.randrange(len(sections))
        heading, paragraphs = sections[place]
        at = self._random.randint(0, len(paragraphs))
        sections[place] = (heading, (*paragraphs[:at], self._prose.paragraph(), *paragraphs[at:]))
        return replace(text, sections=tuple(sections))


def write_mixed(folder: Path, files: int = FILES, *, seed: int = 42) -> Corpus:
    """Write ``files`` files below ``folder``, 100 to a sub-folder."""
    author = Author(seed)
    paths: list[Path] = []
    size = 0
    for number in range(files):
        name, content = author.write(number)
        size += _write(folder / name, content)
        paths.append(folder / name)
    return Corpus(folder=folder, paths=tuple(paths), bytes=size)


def change(corpus: Corpus, *, share: float = 0.01, seed: int = 42, edition: int = 1) -> Changes:
    """Change a share of the files in place: most get one paragraph more, others are written anew, removed or added.

    ``seed`` is the one that the corpus was written with; another ``edition`` makes other changes.
    """
    author = Author(seed)
    random = Random(f"{seed}:{edition}")
    count = max(1, round(share * len(corpus.paths)))
    done: dict[str, list[str]] = {edit: [] for edit in EDITS}
    for turn, number in enumerate(random.sample(range(len(corpus.paths)), count)):
        edit = next(iter(EDITS)) if turn == 0 else random.choices(list(EDITS), list(EDITS.values()))[0]
        new = number if edit != "add" else len(corpus.paths) * edition + turn
        name, content = author.write(new, edit=edit, edition=edition)
        if edit == "delete":
            (corpus.folder / name).unlink()
        else:
            _write(corpus.folder / name, content)
        done[edit].append(name)
    return Changes(**{edit: tuple(names) for edit, names in done.items()})


def _write(path: Path, content: bytes) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.write_bytes(content)


def count_kinds(corpus: Corpus) -> Counter[str]:
    """How many files there are of each type."""
    return Counter(path.suffix[1:] for path in corpus.paths)
