"""Which files of a folder are a dataset, by their names alone."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from app.domain.benchmark_datasets import DatasetFormat, InvalidDatasetError

CORPUS = "corpus.jsonl"
QUERIES = "queries.jsonl"
USUAL_SPLIT = "test"
SHOWN = 20
ADVICE = (
    "a dataset is queries.jsonl with qrels/*.tsv (BEIR), topics* with qrels* (TREC), or one .json document;"
    " see docs/benchmark-datasets.md"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A format, and the file that has the queries and the one that has the judgments; one may be both."""

    format: DatasetFormat
    queries: str
    judgments: str

    @property
    def files(self) -> tuple[str, ...]:
        """Their names, each once."""
        return tuple(dict.fromkeys((self.queries, self.judgments)))


def is_wanted(name: str) -> bool:
    """Whether a file may belong to a dataset; the corpus itself does not, nor what is hidden."""
    base = _base_name(name)
    if base == CORPUS or base.startswith("."):
        return False
    return base == QUERIES or base.endswith((".tsv", ".json")) or _is_topics(base) or _is_qrels(base)


def find_layout(names: Iterable[str], *, split: str | None) -> Layout:
    """The dataset that is among files with these relative names.

    Args:
        names: with ``/`` between folders; what is none of a dataset's is left aside.
        split: which of several files of judgments: the word that its name has for it.

    Raises:
        InvalidDatasetError: if there is none, or several.
    """
    there = sorted(names)
    wanted = [name for name in there if is_wanted(name)]
    queries = [name for name in wanted if _base_name(name) == QUERIES]
    if queries:
        judged = [name for name in wanted if name.endswith(".tsv")]
        return Layout(
            format=DatasetFormat.BEIR,
            queries=_choose(queries, split=None, what="queries"),
            judgments=_choose(judged, split=split, what="judgments (qrels)"),
        )
    judged = [name for name in wanted if _is_qrels(name)]
    if judged:
        topics = [name for name in wanted if _is_topics(name) and not _is_qrels(name)]
        return Layout(
            format=DatasetFormat.TREC,
            # one file of topics goes with the judgments of all splits
            queries=_choose(topics, split=split if len(topics) > 1 else None, what="topics"),
            judgments=_choose(judged, split=split, what="judgments (qrels)"),
        )
    documents = [name for name in wanted if name.endswith(".json")]
    if len(documents) != 1:
        raise InvalidDatasetError(f"{ADVICE}. There are: {_list(there)}")
    return Layout(format=DatasetFormat.JSON, queries=documents[0], judgments=documents[0])


def _choose(names: Sequence[str], *, split: str | None, what: str) -> str:
    """The file of a split: of the one that was asked for, else of ``test``, else the only one.

    A split is the name of a file without its ending, or a word of it: ``qrels/dev.tsv``, ``qrels.dev.txt``.
    """
    if not names:
        raise InvalidDatasetError(f"there is no file with {what}; {ADVICE}")
    if split is None and len(names) == 1:
        return names[0]
    fitting = [name for name in names if (split or USUAL_SPLIT) in _splits_of(name)]
    if len(fitting) == 1:
        return fitting[0]
    found = "several files" if fitting else "no file"
    raise InvalidDatasetError(
        f"{found} with {what} of split {split or USUAL_SPLIT!r}; say which one with split (--split)."
        f" There are: {_list(names)}"
    )


def _splits_of(name: str) -> set[str]:
    return {PurePosixPath(name).stem, *re.split(r"[._-]", _base_name(name))}


def _base_name(name: str) -> str:
    return PurePosixPath(name).name


def _is_topics(name: str) -> bool:
    base = _base_name(name).lower()
    return "topic" in base or "queries" in base


def _is_qrels(name: str) -> bool:
    return "qrel" in _base_name(name).lower()


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more
