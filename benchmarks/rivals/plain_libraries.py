"""PDFium, Kreuzberg and semantic-text-splitter as their own documentation calls them, a process for each core.

``python -m benchmarks.rivals.plain_libraries FOLDER TOKENIZER EVERY`` prints chunks and seconds for every n-th file.
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

from benchmarks.rivals.ingestion import CHUNK_OVERLAP_TOKENS, CHUNK_TOKENS, PLAIN_TEXT, list_files


@cache
def open_splitter(tokenizer_file: str) -> TextSplitter:
    """The splitter, which counts tokens itself."""
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


def count_chunks(work: tuple[str, Path]) -> int:
    """Chunks of a file."""
    tokenizer_file, path = work
    return len(open_splitter(tokenizer_file).chunks(read_text(path)))


def main() -> None:
    """The processes meet some files first, then all is measured."""
    folder, tokenizer_file, every = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    work = [(tokenizer_file, path) for path in list_files(folder)[::every]]
    with multiprocessing.get_context("forkserver").Pool(os.cpu_count()) as pool:
        pool.map(count_chunks, work[:20], chunksize=1)
        started = time.perf_counter()
        chunks = sum(pool.imap_unordered(count_chunks, work, chunksize=5))
        seconds = time.perf_counter() - started
    print(json.dumps({"chunks": chunks, "seconds": seconds}))


if __name__ == "__main__":
    main()
