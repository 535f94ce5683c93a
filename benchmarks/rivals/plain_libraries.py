"""PDFium, Kreuzberg and semantic-text-splitter as their own documentation calls them, a process for each core.

``python -m benchmarks.rivals.plain_libraries FOLDER TOKENIZER`` prints chunks and seconds for all files. With ``-`` for
the tokenizer chunks are cut by characters, with the mean size of the others: that is far faster, but one chunk in five
is then larger than the limit in tokens.
"""

import json
import multiprocessing
import os
import sys
import time
from functools import cache
from pathlib import Path

import kreuzberg
import pypdfium2
from semantic_text_splitter import TextSplitter
from tokenizers import Tokenizer

from benchmarks.rivals.ingestion import BYTES_PER_TOKEN, CHUNK_OVERLAP_TOKENS, CHUNK_TOKENS, PLAIN_TEXT, list_files

BY_CHARACTERS = "-"
BATCH = 5


@cache
def open_splitter(tokenizer_file: str) -> TextSplitter:
    """The splitter, which counts tokens itself."""
    if tokenizer_file == BY_CHARACTERS:
        return TextSplitter(CHUNK_TOKENS * BYTES_PER_TOKEN, overlap=CHUNK_OVERLAP_TOKENS * BYTES_PER_TOKEN)
    tokenizer = Tokenizer.from_file(tokenizer_file)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return TextSplitter.from_huggingface_tokenizer(tokenizer, CHUNK_TOKENS, overlap=CHUNK_OVERLAP_TOKENS)


def read_text(path: Path) -> str:
    """Text of a file."""
    if path.suffix in PLAIN_TEXT:
        return path.read_text(encoding="utf-8")
    if path.suffix == ".pdf":
        document = pypdfium2.PdfDocument(path)
        return "\n\n".join(page.get_textpage().get_text_range() for page in document)
    return kreuzberg.extract_file_sync(path).content


def count_chunks(work: tuple[str, list[Path]]) -> int:
    """Chunks of some files; for several texts at once the splitter has a call of its own, which was the fastest."""
    tokenizer_file, paths = work
    chunks: list[list[str]] = open_splitter(tokenizer_file).chunk_all([read_text(path) for path in paths])
    return sum(len(found) for found in chunks)


def main() -> None:
    """The processes meet some files first, then all is measured."""
    folder, tokenizer_file = Path(sys.argv[1]), sys.argv[2]
    paths = list_files(folder)
    work = [(tokenizer_file, paths[start : start + BATCH]) for start in range(0, len(paths), BATCH)]
    with multiprocessing.get_context("forkserver").Pool(os.cpu_count()) as pool:
        pool.map(count_chunks, work[:8], chunksize=1)
        started = time.perf_counter()
        chunks = sum(pool.imap_unordered(count_chunks, work))
        seconds = time.perf_counter() - started
    print(json.dumps({"chunks": chunks, "seconds": seconds}))


if __name__ == "__main__":
    main()
