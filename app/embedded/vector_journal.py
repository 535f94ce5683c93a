"""What is written to a shard while another one is made to take its place."""

import threading

import qdrant_edge as edge

MAX_BYTES = 64 * 1024 * 1024
MAX_OPERATIONS = 10_000


class TooMuchWrittenError(Exception):
    """More was written than is kept; whoever asks begins again when there is less to write."""


class Journal:
    """Updates in the order in which they were made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._operations: list[edge.UpdateOperation] = []
        self._bytes = 0
        self._is_full = False

    def add(self, operation: edge.UpdateOperation, *, size: int) -> None:
        """Keep one more, unless there are too many."""
        with self._lock:
            self._bytes += size
            self._is_full = self._is_full or self._bytes > MAX_BYTES or len(self._operations) >= MAX_OPERATIONS
            if self._is_full:
                self._operations = []
            else:
                self._operations.append(operation)

    def take(self) -> list[edge.UpdateOperation]:
        """What has come since this was last called.

        Raises:
            TooMuchWrittenError: some of it was not kept.
        """
        with self._lock:
            if self._is_full:
                raise TooMuchWrittenError
            taken, self._operations, self._bytes = self._operations, [], 0
            return taken
