"""Counts what each stage does over all attempts at an operation, and says which one limits."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.metrics import STAGE_SECONDS, TOKENS

RATE_WINDOW_SECONDS = 20.0
STAGES = ("read", "extract", "chunk", "embed", "store", "commit")


@dataclass(slots=True)
class StageAccount:
    """Busy time, summed over everything that ran at once, and items of one stage."""

    seconds: float = 0.0
    items: int = 0


@dataclass(slots=True)
class Account:
    """The running totals of one ingestion. ``lanes`` is how many calls of a stage may run at once.

    ``started`` is the monotonic time at which it would have begun, had all attempts run without a break.
    """

    lanes: dict[str, int]
    total: int = 0
    done: int = 0
    failed: int = 0
    needs_ocr: int = 0
    skipped: int = 0
    chunks: int = 0
    tokens: int = 0
    reused: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    stages: dict[str, StageAccount] = field(default_factory=lambda: {name: StageAccount() for name in STAGES})
    started: float = field(default_factory=time.monotonic)
    _marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=400))
    _embedding: int = 0
    _embed_since: float = 0.0
    _embed_busy: float = 0.0
    _kept: dict[str, float] = field(default_factory=dict)

    def carry_on(self, totals: Mapping[str, float]) -> None:
        """Start from what earlier attempts at the operation have brought in; see ``GroupWork.amounts``."""
        self.chunks = int(totals.get("chunks", 0))
        self.tokens = int(totals.get("tokens", 0))
        self.reused = int(totals.get("reused_chunks", 0))
        self.cache_hits = int(totals.get("cache_hits", 0))
        self.cache_misses = int(totals.get("cache_misses", 0))
        self.started -= totals.get("seconds", 0.0)
        self._embed_busy = totals.get("embedder_busy_seconds", 0.0)
        for name, stage in self.stages.items():
            stage.seconds = totals.get(f"{name}_seconds", 0.0)
            stage.items = int(totals.get(f"{name}_items", 0))
        self._kept = self._seconds()

    def carry_documents(self, settled: Mapping[str, int]) -> None:
        """Count documents that earlier attempts have settled, by state."""
        self.done += settled.get("completed", 0)
        self.failed += settled.get("failed", 0)
        self.needs_ocr += settled.get("needs_ocr", 0)
        self.total += sum(settled.values())

    def take_scan(self, found: Mapping[str, int]) -> None:
        """Count what a scan has found to do; what this operation had settled before is done again."""
        again = {state: found[f"{state}_again"] for state in ("completed", "failed", "needs_ocr")}
        self.done -= again["completed"]
        self.failed += found["errors"] - again["failed"]
        self.needs_ocr -= again["needs_ocr"]
        self.total += found["pending"] + found["errors"] - sum(again.values())

    def take_seconds(self) -> dict[str, float]:
        """The time that has passed since this was last asked for, as amounts to keep."""
        before, self._kept = self._kept, self._seconds()
        return {name: seconds - before.get(name, 0.0) for name, seconds in self._kept.items()}

    def _seconds(self) -> dict[str, float]:
        stages = {f"{name}_seconds": stage.seconds for name, stage in self.stages.items()}
        now = time.monotonic()
        return {**stages, "seconds": now - self.started, "embedder_busy_seconds": self._embedder_busy(now)}

    def add(self, stage: str, seconds: float, items: int) -> None:
        """Count work that was timed elsewhere."""
        account = self.stages[stage]
        account.seconds += seconds
        account.items += items
        STAGE_SECONDS.labels(stage).inc(seconds)

    def add_tokens(self, tokens: int) -> None:
        """Count tokens that were embedded."""
        self.tokens += tokens
        TOKENS.inc(tokens)

    @contextmanager
    def timed(self, stage: str, items: int) -> Iterator[None]:
        """Count the block as work of a stage."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.add(stage, time.monotonic() - started, items)

    @contextmanager
    def embedding(self, items: int) -> Iterator[None]:
        """Count the block as work of the embedder, and the time in which it is not idle."""
        if self._embedding == 0:
            self._embed_since = time.monotonic()
        self._embedding += 1
        try:
            with self.timed("embed", items):
                yield
        finally:
            self._embedding -= 1
            if self._embedding == 0:
                self._embed_busy += time.monotonic() - self._embed_since

    def cache_summary(self) -> dict[str, float | int]:
        """How often a text that had to be embedded had been embedded before, by whomever."""
        asked = self.cache_hits + self.cache_misses
        rate = round(self.cache_hits / asked, 3) if asked else 0.0
        return {"hits": self.cache_hits, "misses": self.cache_misses, "hit_rate": rate}

    @property
    def settled(self) -> int:
        """Documents that need no more work."""
        return self.done + self.failed + self.needs_ocr

    def embedder_busy_ratio(self) -> float:
        """Share of the time so far in which the embedder had something to do."""
        now = time.monotonic()
        return min(1.0, self._embedder_busy(now) / max(now - self.started, 1e-9))

    def _embedder_busy(self, now: float) -> float:
        return self._embed_busy + (now - self._embed_since if self._embedding else 0.0)

    def limiting_stage(self) -> str | None:
        """The stage whose lanes are busiest."""
        load = {name: stage.seconds / self.lanes.get(name, 1) for name, stage in self.stages.items()}
        name = max(load, key=lambda stage: load[stage])
        return name if load[name] > 0 else None

    def stage_table(self) -> dict[str, dict[str, float | int]]:
        """Busy seconds and items by stage."""
        return {name: {"seconds": round(stage.seconds, 3), "items": stage.items} for name, stage in self.stages.items()}

    def snapshot(self) -> dict[str, Any]:
        """The data of an ``ingest_progress`` event."""
        now = time.monotonic()
        self._marks.append((now, self.settled))
        while now - self._marks[0][0] > RATE_WINDOW_SECONDS:
            self._marks.popleft()
        overall = self.settled / max(now - self.started, 1e-9)
        first_time, first_settled = self._marks[0]
        recent = (self.settled - first_settled) / (now - first_time) if now - first_time > 1 else overall
        rates = sorted(rate for rate in (overall, recent) if rate > 0)
        left = max(self.total - self.settled, 0)
        return {
            "documents": {
                "total": self.total,
                "done": self.done,
                "failed": self.failed,
                "needs_ocr": self.needs_ocr,
                "skipped": self.skipped,
            },
            "chunks": self.chunks,
            "tokens": self.tokens,
            "reused": self.reused,
            "stages": self.stage_table(),
            "rate": {
                "documents_per_second": round(recent, 2),
                "tokens_per_second": round(self.tokens / max(now - self.started, 1e-9), 1),
            },
            "eta_seconds": [round(left / rates[-1], 1), round(left / rates[0], 1)] if rates else None,
            "limiting_stage": self.limiting_stage(),
            "embedder_busy_ratio": round(self.embedder_busy_ratio(), 3),
        }
