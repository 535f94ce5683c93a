"""Record files: one JSON object with ``_id``, ``title`` and ``text`` per line. Runs in child processes."""

import hashlib
from typing import Any

import orjson

LONGEST_LINE_BYTES = 100 * 1024 * 1024
SNIFF_BYTES = 1024 * 1024

ScannedRecord = tuple[str | None, int, int, bytes, str | None, str | None]


def is_record_file(path: str) -> bool:
    """Whether the first non-empty line is a JSON object with a ``text``."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 — names that are not UTF-8 stay as they are
            for _ in range(100):
                line = file.readline(SNIFF_BYTES)
                if line.strip():
                    return isinstance(read_record(line)["text"], str)
                if not line:
                    return False
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return False


def read_record(line: bytes) -> dict[str, Any]:
    """The object of a line; raises ValueError if it is none."""
    value = orjson.loads(line)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def scan_records(path: str, offset: int, limit: int) -> tuple[list[ScannedRecord], int | None]:
    """Up to ``limit`` records from a byte offset, and the offset to go on from (None at the end).

    A record is ``(id, offset, length, sha256, error_code, error_message)``. Memory is bounded by the longest line.
    """
    records: list[ScannedRecord] = []
    with open(path, "rb") as file:  # noqa: PTH123 — names that are not UTF-8 stay as they are
        file.seek(offset)
        while len(records) < limit:
            start = file.tell()
            line = file.readline(LONGEST_LINE_BYTES)
            if not line:
                return records, None
            if len(line) == LONGEST_LINE_BYTES and not line.endswith(b"\n"):
                records.append(_skip_long_line(file, start))
            elif line.strip():
                records.append(_describe(line, start))
        return records, file.tell()


def _describe(line: bytes, start: int) -> ScannedRecord:
    digest = hashlib.sha256(line.strip()).digest()
    try:
        record = read_record(line)
        if not isinstance(record.get("text"), str):
            raise TypeError("no text")  # noqa: TRY301 — one place explains every bad line
        name = record.get("_id", record.get("id"))
    except (ValueError, TypeError):
        return None, start, len(line), digest, "invalid_record", "not a JSON object with a `text`"
    return None if name is None else str(name), start, len(line), digest, None, None


def _skip_long_line(file: Any, start: int) -> ScannedRecord:  # noqa: ANN401 — a binary file
    while (part := file.readline(LONGEST_LINE_BYTES)) and not part.endswith(b"\n"):
        pass
    message = f"a line longer than {LONGEST_LINE_BYTES} bytes"
    return None, start, file.tell() - start, b"", "invalid_record", message
