"""cleanup_generations: generations past their time, and physical collections that no row knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog

from app.db.database import Database
from app.db.leftovers import UNMARKED, DropRules, LeftoverRepository, is_marked, read_marker
from app.domain.periodic import Round
from app.domain.ports import VectorStore

log = structlog.get_logger(__name__)

PREFIX = "vecloom_"
PER_ROUND = 100
NAMES_SHOWN = 20


@dataclass(slots=True, kw_only=True)
class _Found:
    """What a round has come across; ``names`` are the first of those that were dropped, or would be."""

    retired: int = 0
    given_up: int = 0
    leftover: int = 0
    unknown: int = 0
    waiting: int = 0
    protected: int = 0
    of_others: int = 0
    names: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """As the result of the round."""
        counts = {name: getattr(self, name) for name in _Found.__slots__ if name != "names"}
        return {**counts, "names": self.names[:NAMES_SHOWN]}


class OldGenerations:
    """Drops what was replaced or given up, and what a crash has left in the vector store.

    Postgres decides first and the vector store follows, so that a crash between the two leaves a collection whose
    generation is dropped: the next round takes that for what it is. A physical collection that no row knows is ours
    only if its name carries our marker; what an alias of somebody else names is protected.
    """

    def __init__(self, database: Database, store: VectorStore, rules: DropRules) -> None:
        self._database = database
        self._store = store
        self._rules = rules

    async def clean(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        async with self._database.begin() as connection:
            marker = await read_marker(connection)
        aliases = await self._store.list_aliases()
        protected = {to for alias, to in aliases.items() if not _is_our_alias(alias)}
        found = _Found()
        await self._drop_past_their_time(found, marker, protected, dry_run=given.dry_run)
        await self._drop_unknown(found, marker, protected, dry_run=given.dry_run)
        return found.summary()

    async def _drop_past_their_time(self, found: _Found, marker: str, protected: set[str], *, dry_run: bool) -> None:
        async with self._database.begin() as connection:
            leftovers = LeftoverRepository(connection)
            if not dry_run:
                await leftovers.set_drop_times(self._rules)
            past = await leftovers.list_past_their_time(self._rules, limit=PER_ROUND)
        for name, state in past.items():
            if not _is_ours(name, marker):
                found.of_others += 1
            elif name in protected:
                found.protected += 1
            elif dry_run or await self._give_up(name):
                found.retired += state == "retired"
                found.given_up += state == "building"
                await self._drop(found, name, dry_run=dry_run)

    async def _give_up(self, name: str) -> bool:
        async with self._database.begin() as connection:
            return await LeftoverRepository(connection).mark_dropped(self._rules, name)

    async def _drop_unknown(self, found: _Found, marker: str, protected: set[str], *, dry_run: bool) -> None:
        # listed first: a generation has its row before its collection, so whatever is listed and alive is known
        listed = [name for name in await self._store.list_collections() if name.startswith(PREFIX)]
        async with self._database.begin() as connection:
            states = await LeftoverRepository(connection).read_states(listed)
        left = [name for name in listed if states.get(name) == "dropped" and _is_ours(name, marker)]
        unknown = [name for name in listed if name not in states and is_marked(name, marker)]
        found.of_others += sum(name not in states and not is_marked(name, marker) for name in listed)
        long_unknown = await self._note_unknown(unknown, dry_run=dry_run)
        found.waiting = len(set(unknown) - long_unknown)
        for name in left + [name for name in unknown if name in long_unknown]:
            if name in found.names:
                continue
            if name in protected:
                found.protected += 1
            elif found.leftover + found.unknown < PER_ROUND:
                found.leftover += name in states
                found.unknown += name not in states
                await self._drop(found, name, dry_run=dry_run)

    async def _note_unknown(self, names: Sequence[str], *, dry_run: bool) -> set[str]:
        async with self._database.begin() as connection:
            leftovers = LeftoverRepository(connection)
            if not dry_run:
                await leftovers.note_unknown(names)
            return set(await leftovers.list_long_unknown(seconds=self._rules.grace))

    async def _drop(self, found: _Found, name: str, *, dry_run: bool) -> None:
        found.names.append(name)
        if dry_run:
            return
        await self._store.drop_collection(name)
        log.info("generation_dropped", name=name)
        async with self._database.begin() as connection:
            await LeftoverRepository(connection).forget_unknown(name)


def _is_ours(name: str, marker: str) -> bool:
    """Whether a generation that a row knows is in our hands, and not in those of the database this one is a copy of."""
    return is_marked(name, marker) or UNMARKED.fullmatch(name) is not None


def _is_our_alias(alias: str) -> bool:
    """Whether it is the alias of a collection, which Vecloom keeps for other readers."""
    try:
        UUID(alias.removeprefix(PREFIX))
    except ValueError:
        return False
    return alias.startswith(PREFIX)
