"""Which of several files of a dataset is read."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from app.domain.benchmark_datasets import InvalidDatasetError

USUAL_SPLIT = "test"


def base_name(name: str) -> str:
    """The name of a file without its folders."""
    return PurePosixPath(name).name


def choose_file(names: Sequence[str], *, split: str | None, what: str) -> str:
    """The file of a split: of the one that was asked for, else of ``test``, else the only one.

    A split is the name of a file without its ending, or a word of it: ``qrels/dev.tsv``, ``qrels.dev.txt``.

    Raises:
        InvalidDatasetError: if that is none of them, or several.
    """
    if not names:
        raise InvalidDatasetError(f"there is no file with {what}")
    if split is None and len(names) == 1:
        return names[0]
    fitting = [name for name in names if (split or USUAL_SPLIT) in _splits_of(name)]
    if len(fitting) == 1:
        return fitting[0]
    found = "several files" if fitting else "no file"
    there = ", ".join(sorted(names)[:20])
    raise InvalidDatasetError(
        f"{found} with {what} of split {split or USUAL_SPLIT!r}; say which one with split (--split). There are: {there}"
    )


def _splits_of(name: str) -> set[str]:
    stem = PurePosixPath(name).stem
    return {stem, *re.split(r"[._-]", base_name(name))}
