"""Reads a dataset, whichever format it has."""

from collections.abc import Mapping

from app.domain.benchmark_datasets import DatasetContent, InvalidDatasetError
from app.evaluation.datasets.beir import QUERIES, read_beir
from app.evaluation.datasets.choose import base_name
from app.evaluation.datasets.plain import read_plain
from app.evaluation.datasets.trec import is_qrels, is_topics, read_trec

CORPUS = "corpus.jsonl"
ADVICE = (
    "a dataset is queries.jsonl with qrels/*.tsv (BEIR), topics* with qrels* (TREC), or one .json document;"
    " see docs/benchmark-datasets.md"
)


def is_wanted(name: str) -> bool:
    """Whether a file may belong to a dataset; the corpus itself does not, nor what is hidden."""
    base = base_name(name)
    if base == CORPUS or base.startswith("."):
        return False
    return base == QUERIES or base.endswith((".tsv", ".json")) or is_topics(base) or is_qrels(base)


def parse_dataset(
    files: Mapping[str, bytes], split: str | None = None, limit_queries: int | None = None
) -> DatasetContent:
    """The dataset that lies in some files; what is none of a dataset's is left aside.

    It takes seconds for 10 MiB of short lines, so it is called in a child process.

    Args:
        files: contents by relative name, with ``/`` between folders.
        split: which of several files of judgments: the word that its name has for it.
        limit_queries: of more queries so many are chosen by chance, which chooses the same ones each time.

    Raises:
        InvalidDatasetError: with the first 20 things that are wrong, each with file and line.
        DatasetTooLargeError: if it says more than is taken.
    """
    wanted = {name: files[name] for name in sorted(files) if is_wanted(name)}
    if any(base_name(name) == QUERIES for name in wanted):
        return read_beir(wanted, split=split, limit_queries=limit_queries)
    if any(is_qrels(name) for name in wanted):
        return read_trec(wanted, split=split, limit_queries=limit_queries)
    documents = [name for name in wanted if name.endswith(".json")]
    if len(documents) != 1:
        there = ", ".join(sorted(files)[:20]) or "none"
        raise InvalidDatasetError(f"{ADVICE}. The files that came: {there}")
    return read_plain(wanted, documents[0], limit_queries=limit_queries)
