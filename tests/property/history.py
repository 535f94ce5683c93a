"""One collection with its folder: what was done to both, what they should be, and whether they are."""

import os
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import anyio.from_thread
from hypothesis.stateful import RuleBasedStateMachine

from app.domain.syncs import OnGone
from tests.property.contents import Content, make_content
from tests.property.fates import Fate
from tests.property.model import Append, Document, Documents, may_be
from tests.property.observed import observe
from tests.property.system import Operation, System

Answer = TypeVar("Answer")
Allowed = Callable[[Document | None, Document | None, Document | None], bool]
"""Whether a document may be so between two states of it."""

FOLDERS = ("north", "north/inner", "south")
FIRST_WRITE = 1_700_000_000
GUARDED = "mass_deletion_guard"

Change = tuple[str, list[int], bool]
"""A path, the paragraphs to write there, and whether nobody shall be able to read them."""


class History(RuleBasedStateMachine):
    """What rules share; they run in a thread beside the loop on which everything else lives.

    Attributes:
        files: what the folder holds, by path.
        contents: all that it ever held, by digest.
        documents: what the collection should hold.
        sources: what becomes of gone documents, by folder.
        ids: of sources, by folder.
        unsettled: sources that may have leftovers of an operation that was stopped.
        story: what was done, line by line.
        can_go_back: whether a generation that served before is kept.
        is_over: whether there is nothing more to be done.
    """

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
        self.unsettled: set[str] = set()
        self.story: list[str] = [f"collection {name}"]
        self.can_go_back = False
        self.is_over = True
        self._clock = FIRST_WRITE
        for folder in FOLDERS:
            (self.folder / folder).mkdir(parents=True)

    # --- files ----------------------------------------------------------------------------------

    def put(self, path: str, content: Content) -> None:
        """Write a file all at once, as editors do, and at a time of its own, however fast this is."""
        place = self.folder / path
        place.parent.mkdir(exist_ok=True)
        unfinished = place.with_name(f".{place.name}.new")
        unfinished.write_bytes(content.data)
        self._clock += 1
        os.utime(unfinished, (self._clock, self._clock))
        unfinished.replace(place)
        self.files[path] = self.contents[content.digest] = content

    def put_all(self, written: Sequence[Change]) -> None:
        """Write some files."""
        for path, numbers, damaged in written:
            content = make_content(path, numbers, damaged=damaged)
            self.put(path, content)
            self.story.append(f"write {path}: {content.name}")

    def drop(self, path: str) -> None:
        """Delete a file."""
        (self.folder / path).unlink()
        del self.files[path]

    def drop_some(self, pick: int, count: int) -> None:
        """Delete some files that are neighbours by name."""
        for path in sorted(self.files)[pick % max(1, len(self.files)) :][:count]:
            self.drop(path)
            self.story.append(f"delete {path}")

    def move_one(self, pick: int, folder: str) -> None:
        """Move a file to another folder as it is, perhaps over another one."""
        for path in sorted(self.files)[pick % max(1, len(self.files)) :][:1]:
            goal = f"{folder}/{path.rpartition('/')[2]}"
            if goal != path:
                (self.folder / path).rename(self.folder / goal)
                self.files[goal] = self.files.pop(path)
                self.story.append(f"move {path} to {goal}")

    # --- comparing ------------------------------------------------------------------------------

    def judge(self, states: Sequence[Documents], ended: Operation, *, guarded: bool = False) -> None:
        """An operation has led to the last of these states; if it was cancelled, anywhere on the way."""
        if ended["state"] == "cancelled":
            self.compare(states, may_be)
            return
        self.require_end(ended, guarded=guarded)
        self.compare(states)

    def require_end(self, ended: Operation, *, guarded: bool = False) -> None:
        """It has completed, or the guard has stopped it."""
        wanted = ("failed", GUARDED) if guarded else ("completed", None)
        if (ended["state"], ended["error_code"]) != wanted:
            self._fail([f"it should have {wanted}: {ended}"])

    def compare(self, states: Sequence[Documents], allowed: Allowed | None = None) -> None:
        """The collection is as in the last state, or as is allowed between one and the next; what it is, is noted."""
        found = self.run(partial(observe, self.system.api, self.name, self.folder, self.contents))
        problems = [*found.problems, *_list_differences(found.documents, states, allowed)]
        if not self.unsettled:
            problems += found.leftovers
        if problems:
            self._fail(problems)
        self.documents = found.documents

    def verify(self) -> None:
        """The application itself finds nothing wrong, however deep it looks."""
        body = {"kind": "VERIFY", "config": {"deep": True}}
        ask = partial(self.system.submit, "POST", f"/collections/{self.name}/operations", body)
        [ended] = self.carry_out(ask, Fate())
        self.require_end(ended)
        if not ended["result"]["ok"]:
            self._fail([f"a verification finds {ended['result']}"])

    def _fail(self, problems: Sequence[str]) -> None:
        self.is_over = True
        raise AssertionError("\n".join(["", *problems, "after", *self.story]))

    # --- asking ---------------------------------------------------------------------------------

    def run(self, ask: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Run something on the loop; what goes wrong there comes with the story."""
        try:
            return anyio.from_thread.run(ask)
        except BaseException as error:
            self.is_over = True
            error.add_note("\n".join(self.story))
            raise

    def carry_out(
        self,
        ask: Callable[[], Coroutine[Any, Any, list[Operation]]],
        fate: Fate,
        *,
        meanwhile: Callable[[], None] | None = None,
    ) -> list[Operation]:
        """Have operations carried out; how they ended is part of the story."""
        ended = self.run(partial(self.system.carry_out, ask, fate, meanwhile=meanwhile))
        told = [f"{one['state']} {one['error_code'] or ''} (attempt {one['attempt']})" for one in ended]
        self.story.append(f"  -> {'; '.join(told)}")
        return ended

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer of the API to something about the collection."""
        return self.run(partial(self.system.call, method, f"/collections/{self.name}{path}", body))

    def read_ids(self) -> None:
        """Learn the ids of the sources."""
        urls = {source["url"]: source["id"] for source in self.call("GET", "/sources")["sources"]}
        self.ids = {root: urls[self.url(root)] for root in self.sources}

    def url(self, path: str) -> str:
        """Of a file or a folder."""
        return (self.folder / path).as_uri()

    # --- choosing -------------------------------------------------------------------------------

    def pick_source(self, pick: int) -> str:
        """One of the sources."""
        return sorted(self.sources)[pick % len(self.sources)]

    def how(self, root: str, *, full: bool = True, confirmed: bool = False) -> Append:
        """An APPEND of a source, as the source is now."""
        removes = self.sources[root] is OnGone.REMOVE
        return Append(root=root, removes=removes, settles=full, confirmed=confirmed)

    def settle(self, how: Append) -> None:
        """A full APPEND clears away what was left in its source; what it passes on is cleared by those that get it."""
        if how.settles and how.root in self.unsettled:
            self.unsettled |= {root for root in self.sources if _overlap(root, how.root)}
            self.unsettled.discard(how.root)

    def list_failed(self) -> list[str]:
        """Documents that may be tried again."""
        return [path for path, each in sorted(self.documents.items()) if each.state in {"failed", "needs_ocr"}]


def _overlap(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return not short or f"{long}/".startswith(f"{short}/")


def _list_differences(found: Documents, states: Sequence[Documents], allowed: Allowed | None) -> list[str]:
    def is_right(path: str) -> bool:
        if allowed is None:
            return found.get(path) == states[-1].get(path)
        return any(allowed(found.get(path), one.get(path), two.get(path)) for one, two in pairwise(states))

    return [
        f"{path} is {found.get(path)}, should be {states[-1].get(path)} (or was {states[0].get(path)})"
        for path in sorted(set(found).union(*states))
        if not is_right(path)
    ]
