"""What a verification has compared and found, in bounded memory."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.db.verification import DocumentMark
from app.pipeline.compare import Fault, Suspect

MOST_LISTED = 1000
OTHER_MODEL = frozenset({"embedder_changed", "embedder_dimension"})
LISTS = {Fault.MISSING: "missing", Fault.EXTRA: "extra"}


@dataclass(slots=True, kw_only=True)
class Findings:
    """The running totals of one verification.

    Attributes:
        total: how many points there are to compare, as far as that was known at the start.
        compared: points looked at: those of the manifest and those of the store, each once.
        in_flux: points that looked wrong and belong to documents that are being written.
        reembedded: points whose text was embedded again and compared with the stored vector.
        sample_error: why that could not be done.
        documents: documents whose number of chunks was compared.
        to_read: documents that the repair has made pending.
    """

    total: int = 0
    compared: int = 0
    compared_bytes: int = 0
    in_flux: int = 0
    reembedded: int = 0
    sample_error: str | None = None
    documents: int = 0
    repaired: int = 0
    to_read: set[UUID] = field(default_factory=set)
    faults: Counter[Fault] = field(default_factory=Counter)
    listed: dict[str, list[str]] = field(default_factory=lambda: {"missing": [], "extra": [], "wrong": []})
    wrong_documents: list[dict[str, Any]] = field(default_factory=list)
    wrong_documents_count: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, suspects: Sequence[Suspect]) -> None:
        """Take points that are wrong for certain."""
        for suspect in suspects:
            self.faults[suspect.fault] += 1
            listed = self.listed[LISTS.get(suspect.fault, "wrong")]
            if len(listed) < MOST_LISTED:
                listed.append(str(suspect.id))

    def add_document(self, mark: DocumentMark) -> None:
        """Take a document whose chunks are not as many as it says."""
        self.wrong_documents_count += 1
        if len(self.wrong_documents) < MOST_LISTED:
            shown = {"document_id": str(mark.id), "uri": mark.uri}
            self.wrong_documents.append({**shown, "chunk_count": mark.chunk_count, "chunks": mark.rows})

    @property
    def found(self) -> int:
        """How many points and documents are wrong."""
        return self.faults.total() + self.wrong_documents_count

    def snapshot(self, stage: str) -> dict[str, Any]:
        """The data of a ``verify_progress`` event."""
        return {"stage": stage, "compared": self.compared, "total": max(self.total, self.compared)}

    def summary(self) -> dict[str, Any]:
        """The result without the lists. ``ok`` if nothing was wrong, or nothing is any more.

        A model that is not there for the sample says nothing; one that is another than before makes all vectors wrong.
        """
        wrong = {fault.value: self.faults[fault] for fault in Fault if fault not in LISTS}
        return {
            "ok": self.repaired >= self.found and self.sample_error not in OTHER_MODEL,
            "compared": self.compared,
            "compared_bytes": self.compared_bytes,
            "documents": self.documents,
            "missing_count": self.faults[Fault.MISSING],
            "extra_count": self.faults[Fault.EXTRA],
            "wrong_count": sum(wrong.values()),
            "wrong_reasons": {name: count for name, count in wrong.items() if count},
            "wrong_documents_count": self.wrong_documents_count,
            "in_flux": self.in_flux,
            "reembedded": self.reembedded,
            "sample_error": self.sample_error,
            "repaired": self.repaired,
            "documents_to_read": len(self.to_read),
            "seconds": round(time.monotonic() - self.started, 3),
        }

    def result(self) -> dict[str, Any]:
        """The result of the operation; each list holds the first of its kind."""
        return {**self.summary(), **self.listed, "wrong_documents": self.wrong_documents}
