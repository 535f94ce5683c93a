"""Random histories: each rule does something to the files or the collection, and then both are compared."""

import os
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import anyio.from_thread
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from app.domain.syncs import OnGone
from tests.property.contents import SUBJECTS, Content, make_content
from tests.property.fates import TABLES, Blow, Fate
from tests.property.model import Append, Documents, append, may_be, remove_source, retry
from tests.property.observed import Observed, observe
from tests.property.system import Operation, System

Answer = TypeVar("Answer")

FOLDERS = ("north", "north/inner", "south")
PATHS = tuple(f"{folder}/{name}" for folder in FOLDERS for name in ("log.md", "tides.txt", "map.pdf"))
ROOTS = ("north", "north/inner", "south", "")
"""Folders of sources: they overlap, and the last one has everything."""
MANY = tuple(f"south/many/{number}.txt" for number in range(24))
FIRST_WRITE = 1_700_000_000
CHUNK_SIZE = 16
GUARDED = "mass_deletion_guard"

paragraphs = st.lists(st.integers(0, len(SUBJECTS) - 1), min_size=1, max_size=4)
changes = st.tuples(st.sampled_from(PATHS), paragraphs, st.sampled_from((False, False, False, True)))
picks = st.integers(0, 11)
fates = st.builds(
    Fate,
    blow=st.sampled_from((Blow.NONE, *Blow)),
    table=st.sampled_from((None, *TABLES)),
    seconds=st.sampled_from((0.0, 0.005, 0.02, 0.1)),
)
mild_fates = fates.filter(lambda fate: fate.blow in {Blow.NONE, Blow.KILL})


class Collection(RuleBasedStateMachine):
    """One collection, its folder, and what it should hold by now."""

    def __init__(self, system: System, name: str) -> None:
        super().__init__()
        self.system = system
        self.name = name
        self.folder = system.folder / name
        self.files: dict[str, Content] = {}
        self.contents: dict[bytes, Content] = {}
        self.documents: Documents = {}
        self.sources: dict[str, OnGone] = {}
        self.ids: dict[str, str] = {}
        # sources whose last operation was stopped, so that there may be leftovers
        self.unsettled: set[str] = set()
        self.story: list[str] = [f"collection {name}"]
        self.is_over = True
        for folder in FOLDERS:
            (self.folder / folder).mkdir(parents=True)

    # --- files ----------------------------------------------------------------------------------

    def _write(self, path: str, content: Content) -> None:
        place = self.folder / path
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content.data)
        # never twice the same time, however fast this is
        time = FIRST_WRITE + len(self.story) * 1000 + len(self.files) + sum(content.data)
        os.utime(place, (time, time))
        self.files[path] = self.contents[content.digest] = content

    def _write_all(self, written: Sequence[tuple[str, list[int], bool]]) -> None:
        for path, numbers, damaged in written:
            content = make_content(path, numbers, damaged=damaged)
            self._write(path, content)
            self.story.append(f"write {path}: {content.name}")

    @rule(written=st.lists(changes, min_size=1, max_size=4))
    def write(self, written: list[tuple[str, list[int], bool]]) -> None:
        """Write new files, or others in place of old ones."""
        self._write_all(written)

    @precondition(lambda self: not set(MANY) & set(self.files))
    @rule(numbers=paragraphs)
    def write_many(self, numbers: list[int]) -> None:
        """Write so many files that the guard minds their removal; most are copies of others."""
        for number, path in enumerate(MANY):
            self._write(path, make_content(path, numbers[: number % len(numbers) + 1], damaged=False))
        self.story.append(f"write {len(MANY)} files to south/many")

    @precondition(lambda self: bool(set(MANY) & set(self.files)))
    @rule(left=st.integers(0, 2))
    def delete_many(self, left: int) -> None:
        """Delete most of the many files."""
        for path in [path for path in MANY if path in self.files][left:]:
            (self.folder / path).unlink()
            del self.files[path]
        self.story.append(f"delete all but {left} files of south/many")

    @precondition(lambda self: self.files)
    @rule(pick=picks, count=st.integers(1, 3))
    def delete(self, pick: int, count: int) -> None:
        """Delete some files."""
        for path in sorted(self.files)[pick % len(self.files) :][:count]:
            (self.folder / path).unlink()
            del self.files[path]
            self.story.append(f"delete {path}")

    @precondition(lambda self: self.files)
    @rule(pick=picks, to=st.sampled_from(FOLDERS))
    def move(self, pick: int, to: str) -> None:
        """Move a file to another folder as it is, perhaps over another one."""
        path = sorted(self.files)[pick % len(self.files)]
        goal = f"{to}/{path.rpartition('/')[2]}"
        if goal != path:
            (self.folder / path).rename(self.folder / goal)
            self.files[goal] = self.files.pop(path)
            self.story.append(f"move {path} to {goal}")

    @precondition(lambda self: self.files)
    @rule(pick=picks)
    def touch(self, pick: int) -> None:
        """Write a file again with what it holds."""
        path = sorted(self.files)[pick % len(self.files)]
        self._write(path, self.files[path])
        self.story.append(f"touch {path}")

    # --- operations -----------------------------------------------------------------------------

    @initialize(
        written=st.lists(changes, min_size=1, max_size=8),
        roots=st.lists(st.tuples(st.sampled_from(ROOTS), st.sampled_from(OnGone)), min_size=1, max_size=2),
        fate=fates,
    )
    def create(self, written: list[tuple[str, list[int], bool]], roots: list[tuple[str, OnGone]], fate: Fate) -> None:
        """Create the collection over one folder or two."""
        self.is_over = False
        self._write_all(written)
        self.sources = dict(roots)
        self.story.append(f"index {[(root, gone.value) for root, gone in self.sources.items()]}, {fate}")
        sources = [{"url": self._url(root), "on_gone": gone} for root, gone in self.sources.items()]
        body = {"name": self.name, "sources": sources, "chunk_size": CHUNK_SIZE, "chunk_overlap": 0}

        async def ask() -> list[Operation]:
            return [(await self.system.call("POST", "/collections", body))["operation"]]

        [ended] = self._carry_out(ask, fate)
        self._read_ids()
        states = [self.documents]
        for root in self.sources:
            states.append(append(states[-1], self.files, self._choose(root))[0])
        if ended["state"] == "cancelled":
            self.unsettled |= set(self.sources)
        self._compare(states, ended)

    @precondition(lambda self: len(self.sources) < len(ROOTS))
    @rule(pick=picks, gone=st.sampled_from(OnGone), fate=fates)
    def add_source(self, pick: int, gone: OnGone, fate: Fate) -> None:
        """Add a source and bring its documents in."""
        free = [root for root in ROOTS if root not in self.sources]
        root = free[pick % len(free)]
        body = {"url": self._url(root), "on_gone": gone}
        self._run(partial(self.system.call, "POST", f"/collections/{self.name}/sources", body))
        self.sources[root] = gone
        self._read_ids()
        self.story.append(f"add source {root!r} ({gone.value})")
        self._append(root, full=True, confirmed=False, fate=fate)

    @precondition(lambda self: self.sources)
    @rule(pick=picks, gone=st.sampled_from(OnGone))
    def change_source(self, pick: int, gone: OnGone) -> None:
        """Say what becomes of documents that are gone from now on."""
        root = self._pick_source(pick)
        path = f"/collections/{self.name}/sources/{self.ids[root]}"
        self._run(partial(self.system.call, "PATCH", path, {"on_gone": gone}))
        self.sources[root] = gone
        self.story.append(f"change source {root!r} to {gone.value}")

    @precondition(lambda self: self.sources)
    @rule(pick=picks, full=st.sampled_from((True, True, False)), confirmed=st.booleans(), fate=fates)
    def append(self, pick: int, full: bool, confirmed: bool, fate: Fate) -> None:  # noqa: FBT001 — drawn by name
        """Bring a source up to date."""
        self._append(self._pick_source(pick), full=full, confirmed=full and confirmed, fate=fate)

    def _append(self, root: str, *, full: bool, confirmed: bool, fate: Fate) -> None:
        mode = "full" if full else "incremental"
        self.story.append(f"append {root!r} {mode}{', confirmed' if confirmed else ''}, {fate}")
        config = {"source_id": self.ids[root], "mode": mode, "confirm_removals": confirmed}
        body = {"kind": "APPEND", "config": config}
        ask = partial(self.system.submit, "POST", f"/collections/{self.name}/operations", body)
        [ended] = self._carry_out(ask, fate)
        self._take_append(ended, self._choose(root, full=full, confirmed=confirmed))

    def _take_append(self, ended: Operation, how: Append) -> None:
        after, is_guarded = append(self.documents, self.files, how)
        if is_guarded or ended["state"] == "cancelled":
            self.unsettled.add(how.root)
        elif how.settles and how.root in self.unsettled:
            # what it has passed on is cleared away by those that have it now
            self.unsettled |= {root for root in self.sources if self._overlap(root, how.root)}
            self.unsettled.discard(how.root)
        self._compare([self.documents, after], ended, guarded=is_guarded)

    @precondition(lambda self: self.sources)
    @rule(confirmed=st.booleans(), fate=mild_fates)
    def sync(self, confirmed: bool, fate: Fate) -> None:  # noqa: FBT001 — drawn by name
        """Bring all sources up to date."""
        self.story.append(f"sync{' confirmed' if confirmed else ''}, {fate}")
        ended = self._carry_out(partial(self.system.sync, self.name, confirmed=confirmed), fate)
        roots = {source: root for root, source in self.ids.items()}
        done = [self.documents]
        for one in sorted(ended, key=lambda one: one["finished_at"]):
            root = roots[one["source_id"]]
            after, is_guarded = append(done[-1], self.files, self._choose(root, confirmed=confirmed))
            self._require_end(one, guarded=is_guarded)
            self.unsettled |= {root} if is_guarded else set()
            done.append(after)
        self._compare(done[-1:], None)

    @precondition(lambda self: self.sources)
    @rule(pick=picks, fate=fates)
    def remove_source(self, pick: int, fate: Fate) -> None:
        """Take a source out of the collection."""
        root = self._pick_source(pick)
        self.story.append(f"remove source {root!r}, {fate}")
        path = f"/collections/{self.name}/sources/{self.ids[root]}"
        [ended] = self._carry_out(partial(self.system.submit, "DELETE", path), fate)
        states = [self.documents, remove_source(self.documents, root)]
        if ended["state"] == "cancelled":
            self.unsettled.add(root)
        else:
            del self.sources[root]
            self.unsettled = set(self.sources) if root in self.unsettled else self.unsettled
        self._compare(states, ended)

    @precondition(lambda self: self._list_failed())
    @rule(count=st.integers(1, 9), fate=fates)
    def retry_documents(self, count: int, fate: Fate) -> None:
        """Try some documents again that have failed."""
        chosen = self._list_failed()[:count]
        self.story.append(f"retry {chosen}, {fate}")
        listed = self._run(partial(self.system.call, "GET", f"/collections/{self.name}/documents?limit=100"))
        ids = {document["uri"]: document["id"] for document in listed["documents"]}
        body = {"ids": [ids[self._url(path)] for path in chosen]}
        ask = partial(self.system.submit, "POST", f"/collections/{self.name}/documents/retry", body)
        [ended] = self._carry_out(ask, fate)
        if ended["state"] == "cancelled":
            self.unsettled |= set(self.sources)
        self._compare([self.documents, retry(self.documents, self.files, chosen)], ended)

    def teardown(self) -> None:
        """Bring everything up to date, so that nothing is left of what was stopped; then delete the collection."""
        if self.is_over:
            return
        for _ in range(2):
            for root in self.sources:
                self._append(root, full=True, confirmed=True, fate=Fate())
        self.unsettled.clear()
        self.story.append("at the end")
        self._compare([self.documents], None)
        [ended] = self._carry_out(partial(self.system.submit, "DELETE", f"/collections/{self.name}"), Fate())
        self._require_end(ended)

    # --- comparing ------------------------------------------------------------------------------

    def _compare(self, states: Sequence[Documents], ended: Operation | None, *, guarded: bool = False) -> None:
        """The collection is as in the last of these states, or anywhere on the way if its operation was cancelled."""
        if ended is not None and ended["state"] != "cancelled":
            self._require_end(ended, guarded=guarded)
        found = self._run(partial(observe, self.system.api, self.name, self.folder, self.contents))
        verified = self._run(partial(self.system.verify, self.name))
        problems = [*found.problems, *self._list_differences(found.documents, states, ended)]
        problems += self._list_findings(verified, found)
        if not self.unsettled:
            problems += found.leftovers
        if problems:
            self._fail(problems)
        self.documents = found.documents

    def _list_differences(self, found: Documents, states: Sequence[Documents], ended: Operation | None) -> list[str]:
        was_cancelled = ended is not None and ended["state"] == "cancelled"
        pairs = list(pairwise(states)) if was_cancelled else [(states[-1], states[-1])]
        return [
            f"{path} is {found.get(path)}, should be {states[-1].get(path)} (was {states[0].get(path)})"
            for path in sorted(set(found).union(*states))
            if not (
                any(may_be(found.get(path), before.get(path), after.get(path)) for before, after in pairs)
                if was_cancelled
                else found.get(path) == states[-1].get(path)
            )
        ]

    def _list_findings(self, verified: dict[str, Any], found: Observed) -> list[str]:
        """What a verification says that is not what an operation that was stopped may have left."""
        if verified["ok"]:
            return []
        extra = set(verified["extra"]) - {str(point) for point in found.extra}
        is_left = self.unsettled and found.leftovers and not extra
        others = {name: verified[name] for name in ("missing", "wrong_documents") if verified[name]}
        if is_left and not others and set(verified["wrong_reasons"]) <= {"payload"}:
            return []
        return [f"a verification finds {verified}"]

    def _require_end(self, ended: Operation, *, guarded: bool = False) -> None:
        wanted = ("failed", GUARDED) if guarded else ("completed", None)
        if (ended["state"], ended["error_code"]) != wanted:
            self._fail([f"{ended['kind']} should have {wanted}: {ended}"])

    def _fail(self, problems: Sequence[str]) -> None:
        self.is_over = True
        raise AssertionError("\n".join(["", *problems, "after", *self.story]))

    # --- asking ---------------------------------------------------------------------------------

    def _run(self, ask: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Run something on the loop that everything else lives on."""
        try:
            return anyio.from_thread.run(ask)
        except BaseException as error:
            self.is_over = True
            error.add_note("\n".join(self.story))
            raise

    def _carry_out(self, ask: Callable[[], Coroutine[Any, Any, list[Operation]]], fate: Fate) -> list[Operation]:
        ended = self._run(partial(self.system.carry_out, ask, fate))
        told = [f"{one['state']} {one['error_code'] or ''}, attempt {one['attempt']}" for one in ended]
        self.story.append(f"  -> {'; '.join(told)}")
        return ended

    def _read_ids(self) -> None:
        listed = self._run(partial(self.system.call, "GET", f"/collections/{self.name}/sources"))
        urls = {source["url"]: source["id"] for source in listed["sources"]}
        self.ids = {root: urls[self._url(root)] for root in self.sources}

    def _url(self, path: str) -> str:
        return (self.folder / path).as_uri()

    def _pick_source(self, pick: int) -> str:
        return sorted(self.sources)[pick % len(self.sources)]

    def _choose(self, root: str, *, full: bool = True, confirmed: bool = False) -> Append:
        removes = self.sources[root] is OnGone.REMOVE
        return Append(root=root, removes=removes, settles=full, confirmed=confirmed)

    def _overlap(self, one: str, other: str) -> bool:
        short, long = sorted((one, other), key=len)
        return not short or f"{long}/".startswith(f"{short}/")

    def _list_failed(self) -> list[str]:
        return [path for path, each in sorted(self.documents.items()) if each.state in {"failed", "needs_ocr"}]
