"""Counts what an operation would make of documents, the way its result will say it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.db.plans import Standing
from app.domain.errors import MassDeletionGuardError
from app.pipeline.scan import GUARD_FROM_DOCUMENTS, GUARD_SHARE


@dataclass(slots=True, kw_only=True)
class Tally:
    """The figures of a dry run.

    Attributes:
        total, done: documents to read, and those that were read.
        found: documents of the scan; ``files`` and ``size`` (bytes) of it.
        states: documents by the state they would end in.
        changes: documents the operation would count as added, changed, removed or unchanged.
        codes: failed documents by error code.
        tokens: those of texts whose vectors have to be made.
        reuse: chunks whose vectors exist, by where.
        gone: documents that would be missed.
    """

    total: int = 0
    done: int = 0
    found: int = 0
    files: int = 0
    size: int = 0
    skipped: int = 0
    chunks: int = 0
    points: int = 0
    tokens: int = 0
    gone: int = 0
    refused: MassDeletionGuardError | None = None
    states: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    reuse: Counter[str] = field(default_factory=Counter)

    def settle(self, state: str, *, change: str | None, is_ours: bool, error_code: str | None = None) -> None:
        """Count a document of the scan; see ``ScanRepository.summarise``."""
        self._add_state(state, error_code)
        if is_ours and change in ("added", "changed"):
            self.changes[change] += 1
        elif state != "failed" or change:
            self.changes["unchanged"] += 1

    def settle_gone(self, gone: Mapping[Standing, int], *, removes: bool, collection: str) -> None:
        """Count documents of the source that the scan has not seen, and that are removed or stay."""
        self.gone = sum(gone.values())
        if not removes:
            for standing, count in gone.items():
                self._add_state(standing.state, standing.error_code, count=count)
            return
        known = self.found + self.gone
        if known >= GUARD_FROM_DOCUMENTS and self.gone > known * GUARD_SHARE:
            self.refused = MassDeletionGuardError(self.gone, known, collection=collection)
        self.changes["removed"] = sum(count for standing, count in gone.items() if not standing.is_blank)

    def _add_state(self, state: str, error_code: str | None, *, count: int = 1) -> None:
        self.states[state] += count
        if state == "failed":
            self.codes[error_code or "unknown"] += count

    def progress(self) -> dict[str, Any]:
        """The data of a ``plan_progress`` event."""
        documents = {"total": self.total, "done": self.done, "found": self.found}
        return {"documents": documents, "chunks": self.chunks, "tokens": self.tokens}

    def result(self) -> dict[str, Any]:
        """What the operation's result would say under the same names, and what only a dry run says."""
        refused = self.refused
        reuse = {name: self.reuse[name] for name in ("in_place", "copies", "same_run", "cache")}
        return {
            "files": self.files,
            "bytes": self.size,
            "documents_added": self.changes["added"],
            "documents_changed": self.changes["changed"],
            "documents_removed": self.changes["removed"],
            "unchanged": self.changes["unchanged"],
            "documents_failed": self.states["failed"],
            "failed_by_code": dict(sorted(self.codes.items())),
            "needs_ocr": self.states["needs_ocr"],
            "skipped": self.skipped,
            "documents": self.states["completed"],
            "chunks": self.chunks,
            "tokens": self.tokens,
            "reused_chunks": sum(reuse.values()),
            "reuse": reuse,
            "would_fail": None if refused is None else {"code": refused.code, "detail": refused.message},
        }
