"""Cuts texts into chunks, sized in tokens of the packaged tokenizer. Runs in child processes."""

from functools import cache
from pathlib import Path

import wordllama
from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from app.domain.documents import Chunking, ChunkingStrategy, TextChunk

TOKENIZER_FILE = Path("tokenizers") / "l2_supercat_tokenizer_config.json"
CHARACTERS_PER_TOKEN = 4
PIECE_CHARACTERS = 200_000


@cache
def load_tokenizer() -> Tokenizer:
    """The tokenizer inside the wordllama wheel, without padding or truncation."""
    tokenizer = Tokenizer.from_file(str(Path(wordllama.__file__).parent / TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@cache
def _splitter(chunking: Chunking, *, markdown: bool) -> TextSplitter | MarkdownSplitter:
    overlap = min(chunking.overlap, chunking.size - 1)
    if chunking.strategy is ChunkingStrategy.CHARACTER:
        return TextSplitter(chunking.size, overlap=overlap)
    kind = MarkdownSplitter if markdown or chunking.strategy is ChunkingStrategy.MARKDOWN else TextSplitter
    return kind.from_huggingface_tokenizer(load_tokenizer(), chunking.size, overlap=overlap)


def count_tokens(texts: list[str]) -> list[int]:
    """Tokens of each text."""
    return [len(encoding) for encoding in load_tokenizer().encode_batch_fast(texts, add_special_tokens=False)]


def chunk_text(text: str, chunking: Chunking, *, markdown: bool = False) -> list[TextChunk]:
    """Chunks in order, ``text[start:end] == chunk.text``; none is empty or white space alone.

    A text that fits into one chunk is one chunk; very long texts are cut into pieces at line ends first, for the
    splitter's cost grows faster than its input.
    """
    spans: list[tuple[int, str]] = []
    splitter = _splitter(chunking, markdown=markdown)
    for start, piece in _pieces(text):
        spans += [(start + offset, chunk) for offset, chunk in splitter.chunk_indices(piece) if chunk.strip()]
    if not spans:
        return []
    tokens = count_tokens([chunk for _, chunk in spans])
    return [
        TextChunk(text=chunk, start=start, end=start + len(chunk), tokens=count)
        for (start, chunk), count in zip(spans, tokens, strict=True)
    ]


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
