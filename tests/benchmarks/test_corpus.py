"""The made-up corpus of benchmarks and tests."""

from collections import Counter
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks.corpus import LARGEST_BYTES, stream_files, write_corpus


def test_same_seed_gives_same_documents() -> None:
    """Two machines with the same documentation measure the same corpus."""
    first = list(stream_files(20, seed=7))
    second = list(stream_files(20, seed=7))
    other = list(stream_files(20, seed=8))

    assert first == second
    assert first != other


def test_more_documents_only_add() -> None:
    """The first documents are the same however many follow, so corpora of different sizes compare."""
    small = list(stream_files(10))
    large = list(islice(stream_files(1_000), 10))

    assert small == large


def test_sizes_are_those_of_real_documents() -> None:
    """Most documents are 2 to 20 KB, and none is far larger."""
    sizes = sorted(len(content.encode()) for _, content in stream_files(400))

    usual = [size for size in sizes if 2_000 <= size <= 20_000]

    assert len(usual) > 0.85 * len(sizes)
    assert 5_000 < median(sizes) < 9_000
    assert sizes[-1] < 1.5 * LARGEST_BYTES


def test_every_format_is_there_and_no_two_are_the_same() -> None:
    """Names and contents are unique; Markdown is the most frequent type."""
    files = list(stream_files(300))

    kinds = Counter(name.rpartition(".")[2] for name, _ in files)

    assert set(kinds) == {"md", "html", "txt"}
    assert kinds.most_common(1)[0][0] == "md"
    assert len({name for name, _ in files}) == len({content for _, content in files}) == 300


def test_write_corpus_writes_what_it_says(tmp_path: Path) -> None:
    """Every path is a file below the folder, in sub-folders of 100, and the bytes add up."""
    corpus = write_corpus(tmp_path, 120)

    assert len(corpus.paths) == 120
    assert {path.parent.name for path in corpus.paths} == {"part-0000", "part-0001"}
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.*")) == corpus.bytes
