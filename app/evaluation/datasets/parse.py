"""Reads a dataset, whichever format it has."""

from collections.abc import Mapping

from app.domain.benchmark_datasets import DatasetContent, DatasetFormat
from app.evaluation.datasets.beir import read_beir
from app.evaluation.datasets.draft import Draft
from app.evaluation.datasets.layout import find_layout
from app.evaluation.datasets.plain import read_plain
from app.evaluation.datasets.problems import Problems
from app.evaluation.datasets.trec import read_trec

READERS = {DatasetFormat.BEIR: read_beir, DatasetFormat.TREC: read_trec, DatasetFormat.JSON: read_plain}


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
    layout = find_layout(files, split=split)
    problems = Problems()
    draft = Draft(problems)
    READERS[layout.format](layout, files, draft, problems)
    return draft.build(layout.format, ", ".join(layout.files), limit_queries=limit_queries)
