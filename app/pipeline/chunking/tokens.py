"""How many tokens a text has, counted word by word: what a word costs is looked up once a process."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Protocol

import wordllama
from tokenizers import Tokenizer

PACKAGED = Path("tokenizers") / "l2_supercat_tokenizer_config.json"
WORDS = re.compile(r" ?\S+|\s+(?= \S)|\s+")
TOKENIZER = "tokenizer.json"
MOST_WORDS = 200_000
"""Words a process remembers; then it begins anew."""
LONGEST_WORD = 48
"""Characters. Longer ones hardly come again."""


class Sizes(Protocol):
    """Measures texts."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """The size of each text, at least 1."""
        ...

    def measure(self, words: Sequence[str]) -> list[int]:
        """The size of each word of ``WORDS``."""
        ...

    def split(self, text: str) -> list[int]:
        """Where the smallest parts of a text begin; the first is 0."""
        ...


def load_tokenizer() -> Tokenizer:
    """The tokenizer inside the wordllama wheel, without padding or truncation."""
    return _open(None)


@cache
def _open(file: str | None) -> Tokenizer:
    path = Path(file) if file else Path(wordllama.__file__).parent / PACKAGED
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
        words = [WORDS.findall(text) for text in texts]
        with self._knowing(set().union(*words)) as sizes:
            find = sizes.__getitem__
            return [max(1, sum(map(find, found))) for found in words]

    def measure(self, words: Sequence[str]) -> list[int]:
        """Tokens of each word of ``WORDS``; some have none."""
        with self._knowing(set(words)) as sizes:
            return [sizes[word] for word in words]

    def split(self, text: str) -> list[int]:
        """Where the tokens of a text begin."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return sorted({0, *(start for start, _ in encoding.offsets)})

    @contextmanager
    def _knowing(self, words: set[str]) -> Iterator[dict[str, int]]:
        """Sizes of these words at least; very long ones are forgotten again."""
        if len(self._sizes) > MOST_WORDS:
            self._sizes = {}
        missing = list(words.difference(self._sizes))
        if missing:
            self._sizes.update(self._tokenize(missing))
        yield self._sizes
        for word in missing:
            if len(word) > LONGEST_WORD:
                del self._sizes[word]

    def _tokenize(self, words: Sequence[str]) -> dict[str, int]:
        """Tokens of words as they are inside a text: many tokenizers put a space before what they are given."""
        texts = [("x" if word[0].isspace() else "\n") + word for word in words]
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return {
            word: max(0, len(encoding) - (self._before_space if word[0].isspace() else self._before_text))
            for word, encoding in zip(words, encodings, strict=True)
        }


class Characters:
    """Sizes in characters."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Characters of each text."""
        return [len(text) for text in texts]

    measure = count

    def split(self, text: str) -> list[int]:
        """Every character."""
        return list(range(len(text)))


@cache
def load_counter(file: str | None = None) -> WordCounter:
    """Counts with a ``tokenizer.json``, a folder that holds one, or the packaged tokenizer; kept with what it learns.

    Raises:
        Exception: what the library raises of a file that is none.
    """
    return WordCounter(_open(file))
