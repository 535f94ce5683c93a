"""A small reader of record files, as scans get one; module-level, so that child processes can call it."""

import hashlib
import json
import os
import signal
from pathlib import Path

from tests.processes.calls import die_once

ScannedRecord = tuple[str | None, int, int, bytes, str | None, str | None]


def is_record_file(path: str) -> bool:
    """Whether the name says so."""
    return path.endswith(".jsonl")


def is_never_a_record_file(path: str) -> bool:
    """No file is."""
    return not path


def scan_records(path: str, offset: int, limit: int) -> tuple[list[ScannedRecord], int | None]:
    """One record a line, with its ``_id``; what is not JSON is an ``invalid_record``."""
    records: list[ScannedRecord] = []
    with Path(path).open("rb") as file:
        file.seek(offset)
        while len(records) < limit:
            start, line = file.tell(), file.readline()
            if not line:
                return records, None
            records.append(_describe(line, start))
        return records, file.tell()


def scan_broken_records(path: str, offset: int, limit: int) -> tuple[list[ScannedRecord], int | None]:
    """The first part can be read, the rest cannot."""
    if offset:
        raise OSError(5, "Input/output error")
    records, _ = scan_records(path, offset, min(limit, 2))
    return records, 1


def _describe(line: bytes, start: int) -> ScannedRecord:
    digest = hashlib.sha256(line.strip()).digest()
    try:
        return json.loads(line).get("_id"), start, len(line), digest, None, None
    except ValueError:
        return None, start, len(line), digest, "invalid_record", "not JSON"


def scan_records_never(path: str, offset: int, limit: int) -> tuple[list[ScannedRecord], int | None]:
    """Be killed each time."""
    os.kill(os.getpid(), signal.SIGKILL)
    return scan_records(path, offset, limit)


def is_record_file_at_second_sight(path: str) -> bool:
    """Be killed the first time."""
    die_once(f"{path}.seen", path)
    return is_record_file(path)


def scan_records_at_second_sight(path: str, offset: int, limit: int) -> tuple[list[ScannedRecord], int | None]:
    """Be killed the first time, at any offset; parts have two records."""
    die_once(f"{path}.{offset}", path)
    return scan_records(path, offset, min(limit, 2))
