"""watch_switches: where searches got worse after a generation took over, the one before it comes back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from app.db.audit import record
from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.switches import Switch, SwitchRepository
from app.domain.audit import SCHEDULE, acting_as
from app.domain.periodic import Round
from app.domain.searches import RollBack
from app.evaluation.regression import Regression, judge_searches
from app.jobs.classify import classify

log = structlog.get_logger(__name__)

PER_ROUND = 1000
NAMES_SHOWN = 20


@dataclass(slots=True, kw_only=True)
class _Found:
    """What a round has come across; ``regressions`` has the first of them by the id of their collection."""

    watched: int = 0
    unknown: int = 0
    worse: int = 0
    rolled_back: int = 0
    failed: int = 0
    regressions: dict[str, str] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """As the result of the round."""
        counts = {name: getattr(self, name) for name in _Found.__slots__ if name != "regressions"}
        return {**counts, "regressions": dict(list(self.regressions.items())[:NAMES_SHOWN])}


class SwitchWatch:
    """Compares the searches of watched generations with those of the ones before.

    That a switch is to be rolled back is written down, with its entry in the audit log, before ``roll_back`` is called,
    and forgotten after it returned: it is called once, and again only if its process ended in between or it raised.
    """

    def __init__(self, database: Database, roll_back: RollBack) -> None:
        self._database = database
        self._roll_back = roll_back

    async def watch(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        async with self._database.begin() as connection:
            repository = SwitchRepository(connection)
            if not given.dry_run:
                await repository.forget_ended()
            switches = await repository.list_watched(limit=PER_ROUND)
        found = _Found(watched=len(switches))
        with acting_as(SCHEDULE):
            for switch in switches:
                words = await self._find_regression(found, switch, dry_run=given.dry_run)
                if words is not None and not given.dry_run:
                    await self._go_back(found, switch, words)
        return found.summary()

    async def _find_regression(self, found: _Found, switch: Switch, *, dry_run: bool) -> str | None:
        """How searches have become worse, if they have; it is decided then."""
        words = switch.regression
        if words is None:
            judged = await self._judge(switch)
            found.unknown += not judged.is_known
            if not judged.is_worse or not (dry_run or await self._decide(switch, judged.words)):
                return None
            words = judged.words
        found.worse += 1
        found.regressions[str(switch.collection_id)] = words
        return words

    async def _judge(self, switch: Switch) -> Regression:
        async with self._database.begin() as connection:
            switches = SwitchRepository(connection)
            before, since = await switches.count_before(switch), await switches.count_since(switch)
        return judge_searches(before, since)

    async def _decide(self, switch: Switch, words: str) -> bool:
        async with self._database.begin() as connection:
            if not await SwitchRepository(connection).note_regression(switch, words=words):
                return False
            collection = await CollectionRepository(connection).get(switch.user_id, switch.collection_id)
            await record(connection, "switch.regressed", collection, after={"reason": words})
        log.warning("switch_regressed", collection_id=str(switch.collection_id), reason=words)
        return True

    async def _go_back(self, found: _Found, switch: Switch, words: str) -> None:
        """Call ``roll_back``; one that fails is tried again each round until the time to watch is over."""
        try:
            await self._roll_back(switch.collection_id, words)
        except Exception as failure:  # noqa: BLE001 — whatever one collection breaks on, the others are looked at too
            found.failed += 1
            given_up = switch.is_over
            code = classify(failure).code
            log.error("rollback_not_begun", collection_id=str(switch.collection_id), code=code, given_up=given_up)  # noqa: TRY400
            if not given_up:
                return
        else:
            found.rolled_back += 1
        async with self._database.begin() as connection:
            await SwitchRepository(connection).watch(switch.generation_id, minutes=None)
