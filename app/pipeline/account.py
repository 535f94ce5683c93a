"""Counts what each stage does over all attempts and lanes of an operation, and says which one limits."""

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.metrics import STAGE_SECONDS, TOKENS

RATE_WINDOW_SECONDS = 20.0
STAGES = ("discover", "read", "extract", "chunk", "reuse", "pack", "embed", "store", "commit")
"""In their order. ``read`` fetches what is elsewhere, and is the gate: it compares hashes of content.
``pack`` takes no time worth counting; its queue is what waits for the model or is with it."""

AMOUNTS = ("seconds", "items", "bytes", "tokens")
DOCUMENTS = ("done", "failed", "needs_ocr", "skipped")


@dataclass(slots=True)
class StageAccount:
    """What one stage did. ``seconds`` are busy ones, summed over everything that ran at once.

    ``queue`` counts items that stand before the stage or are in it now, ``queue_max`` how many they were at most.
    """

    seconds: float = 0.0
    items: int = 0
    bytes: int = 0
    tokens: int = 0
    queue: int = 0
    queue_max: int = 0


@dataclass(slots=True)
class Account:
    """The running totals of one ingestion. ``lanes`` is how many calls of a stage may run at once.

    Attributes:
        started: the monotonic time at which it would have begun, had all attempts run without a break.
        sharers: how many other workers share the operation now.
        is_lane: whether this is the account of such a worker; the operation's own one measures its time.
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
    sharers: int = 0
    most_sharers: int = 0
    is_lane: bool = False
    cache_hits: int = 0
    cache_misses: int = 0
    stages: dict[str, StageAccount] = field(default_factory=lambda: {name: StageAccount() for name in STAGES})
    started: float = field(default_factory=time.monotonic)
    _marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=400))
    _embedding: int = 0
    _embed_since: float = 0.0
    _embed_busy: float = 0.0
    _lanes_before: float = 0.0
    _kept: dict[str, float] = field(default_factory=dict)
    _committed: Counter[str] = field(default_factory=Counter)
    _others: dict[str, float] = field(default_factory=dict)

    def carry_on(self, totals: Mapping[str, float]) -> None:
        """Start from what earlier attempts at the operation have brought in; see ``GroupWork.amounts``."""
        self.chunks = int(totals.get("chunks", 0))
        self.tokens = int(totals.get("tokens", 0))
        self.reused = int(totals.get("reused_chunks", 0))
        self.cache_hits = int(totals.get("cache_hits", 0))
        self.cache_misses = int(totals.get("cache_misses", 0))
        before = totals.get("seconds", 0.0)
        self.started -= before
        # lanes of other workers have taken time of their own
        self._lanes_before = totals.get("lane_seconds", before) - before
        self._embed_busy = totals.get("embedder_busy_seconds", 0.0)
        for name, stage in self.stages.items():
            stage.seconds = totals.get(f"{name}_seconds", 0.0)
            for amount in ("items", "bytes", "tokens"):
                setattr(stage, amount, int(totals.get(f"{name}_{amount}", 0)))
        self._kept = self._passed()
        self._committed = Counter(totals)

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

    def note_committed(self, amounts: Mapping[str, float]) -> None:
        """These are about to be added to the operation's totals from here."""
        self._committed.update(amounts)

    def take_all(self, totals: Mapping[str, float]) -> None:
        """The operation's totals now: what this account has not added is what lanes of other workers have done."""
        for name, amount in totals.items():
            self._others[name] = max(self._others.get(name, 0.0), amount - self._committed[name])
        self.most_sharers = max(self.most_sharers, self.sharers)

    def _of_others(self, name: str) -> int:
        return round(self._others.get(name, 0.0))

    def amount(self, name: str) -> int:
        """Documents, chunks, tokens or reused chunks of all lanes so far."""
        own: int = getattr(self, name)
        shared = {"reused": "reused_chunks"}.get(name, f"documents_{name}" if name in DOCUMENTS else name)
        return own + self._of_others(shared)

    def take_passed(self) -> dict[str, float]:
        """What has passed since this was last asked for: seconds, and bytes and tokens of stages."""
        before, self._kept = self._kept, self._passed()
        return {name: amount - before.get(name, 0.0) for name, amount in self._kept.items()}

    def _passed(self) -> dict[str, float]:
        now = time.monotonic()
        stages = {
            f"{name}_{amount}": float(getattr(stage, amount))
            for name, stage in self.stages.items()
            for amount in ("seconds", "bytes", "tokens")
        }
        own = {"lane_seconds": now - self.started, "embedder_busy_seconds": self._embedder_busy(now)}
        return {**stages, **own} if self.is_lane else {**stages, **own, "seconds": now - self.started}

    def add(self, stage: str, seconds: float, items: int, *, size: int = 0, tokens: int = 0) -> None:
        """Count work that was timed elsewhere; ``size`` is bytes."""
        account = self.stages[stage]
        account.seconds += seconds
        account.items += items
        account.bytes += size
        account.tokens += tokens
        STAGE_SECONDS.labels(stage).inc(seconds)

    def add_tokens(self, tokens: int) -> None:
        """Count tokens that were embedded."""
        self.tokens += tokens
        self.stages["embed"].tokens += tokens
        TOKENS.inc(tokens)

    @contextmanager
    def timed(self, stage: str, items: int, *, size: int = 0, tokens: int = 0) -> Iterator[None]:
        """Count the block as work of a stage."""
        started = time.monotonic()
        with self.queued(stage, items):
            try:
                yield
            finally:
                self.add(stage, time.monotonic() - started, items, size=size, tokens=tokens)

    @contextmanager
    def queued(self, stage: str, items: int) -> Iterator[None]:
        """Count items as standing before a stage, or being in it, while the block runs."""
        account = self.stages[stage]
        account.queue += items
        account.queue_max = max(account.queue_max, account.queue)
        try:
            yield
        finally:
            account.queue -= items

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
        hits, misses = self.amount("cache_hits"), self.amount("cache_misses")
        rate = round(hits / (hits + misses), 3) if hits + misses else 0.0
        return {"hits": hits, "misses": misses, "hit_rate": rate}

    @property
    def settled(self) -> int:
        """Documents that need no more work."""
        return self.amount("done") + self.amount("failed") + self.amount("needs_ocr")

    def embedder_busy_ratio(self) -> float:
        """Share of the time so far in which the embedder had something to do, over all lanes."""
        now = time.monotonic()
        busy = self._embedder_busy(now) + self._others.get("embedder_busy_seconds", 0.0)
        passed = now - self.started + self._lanes_before + self._others.get("lane_seconds", 0.0)
        return min(1.0, busy / max(passed, 1e-9))

    def _embedder_busy(self, now: float) -> float:
        return self._embed_busy + (now - self._embed_since if self._embedding else 0.0)

    def limiting_stage(self) -> str | None:
        """The stage whose lanes are busiest."""
        load = {name: stage.seconds / self.lanes.get(name, 1) for name, stage in self.stages.items()}
        name = max(load, key=lambda stage: load[stage])
        return name if load[name] > 0 else None

    def stage_table(self) -> dict[str, dict[str, float | int]]:
        """What each stage of all lanes did, and what stands before it here: see ``StageAccount``."""
        return {
            name: {
                "seconds": round(stage.seconds + self._others.get(f"{name}_seconds", 0.0), 3),
                **{amount: getattr(stage, amount) + self._of_others(f"{name}_{amount}") for amount in AMOUNTS[1:]},
                "queue": stage.queue,
                "queue_max": stage.queue_max,
            }
            for name, stage in self.stages.items()
        }

    def snapshot(self, *, is_scanning: bool = False) -> dict[str, Any]:
        """The data of an ``ingest_progress`` event; while a scan goes on, nobody knows how long it will take."""
        now = time.monotonic()
        settled, tokens = self.settled, self.amount("tokens")
        self._marks.append((now, settled))
        while now - self._marks[0][0] > RATE_WINDOW_SECONDS:
            self._marks.popleft()
        overall = settled / max(now - self.started, 1e-9)
        first_time, first_settled = self._marks[0]
        recent = (settled - first_settled) / (now - first_time) if now - first_time > 1 else overall
        rates = sorted(rate for rate in (overall, recent) if rate > 0)
        left = max(self.total - settled, 0)
        return {
            "documents": {"total": self.total, **{name: self.amount(name) for name in DOCUMENTS}},
            "chunks": self.amount("chunks"),
            "tokens": tokens,
            "reused": self.amount("reused"),
            "stages": self.stage_table(),
            "rate": {
                "documents_per_second": round(recent, 2),
                "tokens_per_second": round(tokens / max(now - self.started, 1e-9), 1),
            },
            "eta_seconds": [round(left / rates[-1], 1), round(left / rates[0], 1)]
            if rates and not is_scanning
            else None,
            "scanning": is_scanning,
            "limiting_stage": self.limiting_stage(),
            "embedder_busy_ratio": round(self.embedder_busy_ratio(), 3),
            "workers": 1 + self.sharers,
        }
