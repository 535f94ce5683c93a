"""Cuts texts into chunks, sized in tokens of the packaged tokenizer. Runs in child processes."""

from collections import deque
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
import wordllama
from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from app.domain.documents import Chunking, ChunkingStrategy, TextChunk

TOKENIZER_FILE = Path("tokenizers") / "l2_supercat_tokenizer_config.json"
PIECE_CHARACTERS = 200_000
DENSITY_STEP = 0.25
FILL = 0.9
"""Share of a chunk that an average part of the text fills, so that most denser parts fit too."""
PART_SLACK = 1.1


@cache
def load_tokenizer() -> Tokenizer:
    """The tokenizer inside the wordllama wheel, without padding or truncation."""
    tokenizer = Tokenizer.from_file(str(Path(wordllama.__file__).parent / TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


class _Sizes:
    """Counts the tokens of any part of a text that was tokenised once."""

    def __init__(self, text: str) -> None:
        encoding = load_tokenizer().encode(text, add_special_tokens=False)
        self._starts = np.fromiter((start for start, _ in encoding.offsets), dtype=np.int64, count=len(encoding))

    def count(self, start: int, end: int) -> int:
        """Tokens that begin in ``text[start:end]``; a part of a token alone is one too."""
        first, last = np.searchsorted(self._starts, (start, end))
        return max(1, int(last - first))


def chunk_text(text: str, chunking: Chunking, *, markdown: bool = False) -> list[TextChunk]:
    """Chunks in order, ``text[start:end] == chunk.text``; none is empty or white space alone.

    A text that fits into one chunk is one chunk; very long texts are cut into pieces at line ends first.
    """
    spans: list[tuple[int, int, int]] = []
    for start, piece in _pieces(text):
        sizes = _Sizes(piece)
        spans += [
            (start + begin, start + end, sizes.count(begin, end))
            for begin, end in _cut(piece, chunking, sizes, markdown=markdown)
        ]
    return [TextChunk(text=text[start:end], start=start, end=end, tokens=tokens) for start, end, tokens in spans]


def _cut(text: str, chunking: Chunking, sizes: _Sizes, *, markdown: bool) -> list[tuple[int, int]]:
    """Spans of chunks.

    The splitter would tokenise every candidate of every chunk, about ten times the text. It is given a size in
    characters instead, what fits by the text's own density; a chunk with too many tokens is cut again, and neighbours
    that fit into one are joined. The density is rounded, so that a small edit does not move every boundary.
    """
    kind = MarkdownSplitter if markdown or chunking.strategy is ChunkingStrategy.MARKDOWN else TextSplitter
    if chunking.strategy is ChunkingStrategy.CHARACTER:
        splitter = TextSplitter(chunking.size, overlap=chunking.overlap)
        return [(at, at + len(chunk)) for at, chunk in splitter.chunk_indices(text) if chunk.strip()]
    tokens = sizes.count(0, len(text))
    if tokens <= chunking.size:
        body = text.strip()
        at = text.find(body)
        return [(at, at + len(body))] if body else []
    density = max(DENSITY_STEP, round(len(text) / tokens / DENSITY_STEP) * DENSITY_STEP)
    waiting = deque([(0, len(text), int(chunking.size * density * FILL))])
    spans: list[tuple[int, int]] = []
    while waiting:
        start, end, characters = waiting.popleft()
        overlap = characters * chunking.overlap // chunking.size
        cutter = kind(characters, overlap=min(overlap, characters - 1))
        again = []
        for offset, chunk in cutter.chunk_indices(text[start:end]):
            span = (start + offset, start + offset + len(chunk))
            parts = -(-sizes.count(*span) // chunking.size)
            if parts > 1 and characters > 1:
                again.append((*span, max(1, min(characters - 1, int(len(chunk) / parts * PART_SLACK)))))
            elif chunk.strip():
                spans.append(span)
        waiting.extend(again)
    return _join(sorted(spans), fits=lambda start, end: sizes.count(start, end) <= chunking.size)


def _join(spans: Iterable[tuple[int, int]], *, fits: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    """Join neighbours that fit into one chunk, and drop what the overlap of the chunk before holds already."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and end <= joined[-1][1]:
            continue
        if joined and fits(joined[-1][0], end):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _pieces(text: str) -> list[tuple[int, str]]:
    pieces = []
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        end = text.rfind("\n", start + PIECE_CHARACTERS // 2, start + PIECE_CHARACTERS) + 1
        end = end or start + PIECE_CHARACTERS
        pieces.append((start, text[start:end]))
        start = end
    pieces.append((start, text[start:]))
    return pieces
