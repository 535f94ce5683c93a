"""What a run tells on stderr, and what it found wrong."""

import sys
import time


class Journal:
    """Timed lines for reading a failing run; violations are kept for the end, each once."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.violations: list[str] = []
        self.warnings: list[str] = []

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._started

    def tell(self, what: str) -> None:
        """One line, with its time."""
        sys.stderr.write(f"+{self.seconds:7.2f} {what}\n")
        sys.stderr.flush()

    def warn(self, what: str) -> None:
        """Something to look at that is not wrong by itself."""
        self.warnings.append(what)
        self.tell(f"warning: {what}")

    def violate(self, what: str) -> None:
        """Something that must not be."""
        if what not in self.violations:
            self.violations.append(what)
            self.tell(f"VIOLATION: {what}")
