"""What an ingesting rival is told and what it says; it runs in an environment of its own, without anything of ours."""

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

CHUNK_TOKENS, CHUNK_OVERLAP_TOKENS = 400, 40
WORDS_PER_TOKEN, BYTES_PER_TOKEN = 0.75, 4
"""For splitters that do not count tokens."""

REQUESTS = 4
MODEL = "double"
PLAIN_TEXT = frozenset({".md", ".txt", ".csv", ".json", ".py"})
"""Suffixes of files that are text as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A folder to bring up to date, where to keep the index between runs, and the model server's URL and batch."""

    folder: Path
    state: Path
    url: str
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the index holds after a run."""

    documents: int
    chunks: int


def list_files(folder: Path) -> list[Path]:
    """All files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def main(ingest: Callable[[Job], Outcome]) -> None:
    """``python -m benchmarks.rivals.NAME FOLDER STATE URL BATCH`` prints one JSON object as its last line."""
    logging.disable(logging.WARNING)
    folder, state, url, batch = sys.argv[1:]
    job = Job(folder=Path(folder), state=Path(state), url=url, batch=int(batch))
    job.state.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    outcome = ingest(job)
    seconds = time.perf_counter() - started
    print(json.dumps({**asdict(outcome), "seconds": seconds}))
