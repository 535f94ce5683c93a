"""How many tokens a text has, counted word by word: what a word costs is looked up once a process."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer

from app.embedders import wheel

WORDS = re.compile(r" ?\S+|\s+(?= \S)|\s+")
TOKENIZER = "tokenizer.json"
MOST_WORDS = 200_000
"""Words a process remembers; then it begins anew."""
LONGEST_WORD = 48
"""Characters. Longer ones hardly come again."""


Span = tuple[int, int]
"""Start and end of a part of a text."""


class Measured(Protocol):
    """A text whose parts have sizes."""

    def count(self, spans: Iterable[Span]) -> list[int]:
        """The size of each part, at least 1."""
        ...


class Sizes(Protocol):
    """Measures texts."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """The size of each text, at least 1."""
        ...

    def read(self, text: str) -> Measured:
        """Measure a text once, for the sizes of many of its parts."""
        ...

    def measure(self, words: Sequence[str]) -> list[int]:
        """The size of each word of ``WORDS``."""
        ...

    def split(self, text: str) -> list[int]:
        """Where the smallest parts of a text begin; the first is 0."""
        ...


def load_tokenizer() -> Tokenizer:
    """The tokenizer of the built-in model, without padding or truncation."""
    return wheel.load_tokenizer()


def _open(file: str | None) -> Tokenizer:
    if file is None:
        return load_tokenizer()
    path = Path(file)
    tokenizer = Tokenizer.from_file(str(path / TOKENIZER if path.is_dir() else path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


class WordCounter:
    """Counts tokens of any text as the sum of its words'.

    Tokens do not reach over the space before a word, so the sum is what the tokenizer gives for the whole, but for one
    token here and there. And it says the same of a text wherever it stands.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._sizes: dict[str, int] = {}
        self._before_space = self._length("x")
        self._before_text = self._length("\n")

    def _length(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text; one without any counts as one."""
        return [max(1, sum(self.measure(WORDS.findall(text)))) for text in texts]

    def read(self, text: str) -> "MeasuredWords":
        """Look up all words of a text."""
        words = WORDS.findall(text)
        return MeasuredWords(self, text, words, self.measure(words))

    def measure(self, words: Sequence[str]) -> list[int]:
        """Tokens of each word of ``WORDS``; some have none."""
        sizes = list(map(self._sizes.get, words))
        if None in sizes:
            known = self._learn({word for word, size in zip(words, sizes, strict=True) if size is None})
            sizes = [known[word] if size is None else size for word, size in zip(words, sizes, strict=True)]
        return sizes  # type: ignore[return-value]  # every None was replaced

    def split(self, text: str) -> list[int]:
        """Where the tokens of a text begin."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return sorted({0, *(start for start, _ in encoding.offsets)})

    def _learn(self, words: set[str]) -> dict[str, int]:
        """Sizes of words that are not known yet; very long ones are not kept."""
        if len(self._sizes) > MOST_WORDS:
            self._sizes = {}
        learned = self._tokenize(list(words))
        self._sizes.update((word, size) for word, size in learned.items() if len(word) <= LONGEST_WORD)
        return learned

    def _tokenize(self, words: Sequence[str]) -> dict[str, int]:
        """Tokens of words as they are inside a text: many tokenizers put a space before what they are given."""
        texts = [("x" if word[0].isspace() else "\n") + word for word in words]
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return {
            word: max(0, len(encoding) - (self._before_space if word[0].isspace() else self._before_text))
            for word, encoding in zip(words, encodings, strict=True)
        }


class MeasuredWords:
    """Sizes of parts of a text as ``WordCounter.count`` gives them, for the price of the words at their edges."""

    def __init__(self, counter: WordCounter, text: str, words: Sequence[str], sizes: Sequence[int]) -> None:
        self._counter = counter
        self._text = text
        self._starts = [0, *accumulate(map(len, words))]
        self._filled = [0, *accumulate(sizes)]

    def count(self, spans: Iterable[Span]) -> list[int]:
        """See the port."""
        return [max(1, self._count(start, end)) for start, end in spans]

    def _count(self, start: int, end: int) -> int:
        starts, filled, text = self._starts, self._filled, self._text
        first = bisect_left(starts, start)
        last = bisect_right(starts, end) - 1
        if first >= last:
            return sum(self._counter.measure(WORDS.findall(text[start:end])))
        rest = []
        if starts[first] != start:
            rest.append(text[start : starts[first]])
        if starts[last] != end:
            if text[starts[last] : end].isspace():
                # the space before a word goes with the white space before it, once the word is cut off
                last -= 1
            rest += WORDS.findall(text[starts[last] : end])
        size = filled[last] - filled[first]
        return size + sum(self._counter.measure(rest)) if rest else size


class Characters:
    """Sizes in characters."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Characters of each text."""
        return [len(text) for text in texts]

    measure = count

    def read(self, text: str) -> "MeasuredCharacters":  # noqa: ARG002 — a part's ends say its size
        """Nothing is looked up."""
        return MeasuredCharacters()

    def split(self, text: str) -> list[int]:
        """Every character."""
        return list(range(len(text)))


class MeasuredCharacters:
    """Sizes of parts in characters."""

    def count(self, spans: Iterable[Span]) -> list[int]:
        """See the port."""
        return [end - start for start, end in spans]


@cache
def load_counter(file: str | None = None) -> WordCounter:
    """Counts with a ``tokenizer.json``, a folder that holds one, or the packaged tokenizer; kept with what it learns.

    Raises:
        Exception: what the library raises of a file that is none.
    """
    return WordCounter(_open(file))
