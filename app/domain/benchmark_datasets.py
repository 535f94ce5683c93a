"""Datasets of a benchmark: queries, and what people have judged of their answers."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app.domain.errors import ConflictError, InvalidInputError, NotFoundError

LARGEST_BYTES = 10 * 1024 * 1024
MOST_FILES = 64
MOST_QUERIES = 1000
MOST_JUDGMENTS = 100
"""Of a query."""
MOST_DATASETS = 100
"""Of a user."""
MOST_SAMPLED = 330
"""Documents of a synthetic one, for each gives up to three queries."""
LONGEST_QUERY = 4096
"""Characters, as in a search."""
LONGEST_QUERY_ID = 200
LONGEST_DOC = 4096
LOWEST_GRADE, HIGHEST_GRADE = -2, 4


class DatasetFormat(StrEnum):
    """How a dataset came; the last two were made here, of judgments of people and of documents themselves."""

    BEIR = "beir"
    TREC = "trec"
    JSON = "json"
    JUDGMENTS = "judgments"
    SYNTHETIC = "synthetic"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedDocument:
    """A judgment. ``doc`` is what the dataset calls a document; a grade above 0 is relevant, one below 0 harmful."""

    doc: str
    grade: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetQuery:
    """A query with all of its judgments, each of another ``doc``, whatever their grades are."""

    query_id: str
    text: str
    relevant: tuple[JudgedDocument, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetContent:
    """What a dataset says.

    Attributes:
        queries: in the order in which they came; each has a judgment.
        source: what it was read from, for people.
        notes: what was left out or put together, for people.
    """

    format: DatasetFormat
    queries: tuple[DatasetQuery, ...]
    source: str = ""
    notes: tuple[str, ...] = ()

    @property
    def judgments(self) -> int:
        """How many there are."""
        return sum(len(query.relevant) for query in self.queries)

    def fingerprint(self) -> bytes:
        """sha256 of queries and judgments, whatever their order and format are. Takes a while for a large dataset."""
        said = [
            [query.query_id, query.text, sorted((judged.doc, judged.grade) for judged in query.relevant)]
            for query in sorted(self.queries, key=lambda query: query.query_id)
        ]
        return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset that is kept, without its content; ``queries`` and ``judgments`` are how many it has."""

    id: UUID
    user_id: UUID
    name: str
    format: DatasetFormat
    source: str
    notes: tuple[str, ...]
    queries: int
    judgments: int
    fingerprint: bytes
    created_at: datetime

    @property
    def is_synthetic(self) -> bool:
        """Whether nobody has judged it: its queries were made of the documents that answer them."""
        return self.format is DatasetFormat.SYNTHETIC


# --- errors -------------------------------------------------------------------------------------


class DatasetNotFoundError(NotFoundError):
    """The caller has no such dataset."""

    code = "benchmark_dataset_not_found"

    def __init__(self, dataset: object) -> None:
        super().__init__(f"benchmark dataset {dataset} does not exist")


class DatasetExistsError(ConflictError):
    """The caller has a dataset of this name already, which says something else."""

    code = "benchmark_dataset_exists"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"you have a benchmark dataset named {name!r} with another content; choose another name, or delete it first"
        )


class TooManyDatasetsError(ConflictError):
    """The caller has as many datasets as are allowed."""

    code = "too_many_benchmark_datasets"

    def __init__(self) -> None:
        super().__init__(f"you have {MOST_DATASETS} benchmark datasets, which is the most; delete one first")


class InvalidDatasetError(InvalidInputError):
    """Files that are no dataset; the message says where, and what to do."""

    code = "invalid_benchmark_dataset"


class DatasetTooLargeError(InvalidInputError):
    """A dataset has more bytes, files, queries or judgments than are taken; the message says what to do."""

    code = "benchmark_dataset_too_large"
