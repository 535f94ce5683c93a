"""Random histories: each rule does something to the files or to the collection, and then both are compared."""

from functools import partial

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from app.domain.syncs import OnGone
from tests.property.contents import SUBJECTS, make_content
from tests.property.fates import TABLES, Blow, Fate
from tests.property.history import FOLDERS, Change, History
from tests.property.model import append, may_be_of_either, remove_source, retry
from tests.property.system import Operation

PATHS = tuple(f"{folder}/{name}" for folder in FOLDERS for name in ("log.md", "tides.txt", "map.pdf"))
ROOTS = ("north", "north/inner", "south", "")
"""Folders of sources: they overlap, and the last one has everything."""
FIRST = (["north", "north/inner"], ["north/inner", "north"], ["", "north"], ["south", "north"], [""])
"""Sources to begin with."""
MANY = tuple(f"south/many/{number}.txt" for number in range(24))
CHUNK_SIZE = 16

paragraphs = st.lists(st.integers(0, len(SUBJECTS) - 1), min_size=1, max_size=4)
changes = st.tuples(st.sampled_from(PATHS), paragraphs, st.sampled_from((False, False, False, True)))
picks = st.integers(0, 11)
fates = st.builds(
    Fate,
    blow=st.sampled_from((Blow.NONE, *Blow)),
    # what is stored and in no row yet is most of the time what is about to be written to chunks
    table=st.sampled_from((None, "chunks", *TABLES)),
    seconds=st.sampled_from((0.0, 0.005, 0.02, 0.1)),
    is_before=st.booleans(),
)
of_rebuilds = st.builds(
    Fate,
    blow=st.sampled_from((Blow.NONE, *Blow)),
    table=st.sampled_from((None, "chunks", "generation_documents", "generations", "collections", "operation_totals")),
    seconds=st.sampled_from((0.0, 0.02, 0.1, 0.5)),
    is_before=st.booleans(),
)
first_fates = fates.filter(lambda fate: fate.table != "sources")
"""Of an operation that is asked for with its sources."""
TEARS = Fate(blow=Blow.CANCEL, table="chunks", is_before=True)
deaths = fates.filter(lambda fate: fate.blow in {Blow.NONE, Blow.KILL})


class Collection(History):
    """What may happen to a collection."""

    # --- files ----------------------------------------------------------------------------------

    @rule(
        written=st.lists(changes, max_size=3),
        deleted=st.integers(0, 2),
        moved=st.lists(st.sampled_from(FOLDERS), max_size=2),
        touched=st.integers(0, 1),
        pick=picks,
    )
    def change_files(self, written: list[Change], deleted: int, moved: list[str], touched: int, pick: int) -> None:
        """Write files, delete some, move some to other folders, and write some again as they were."""
        self.put_all(written)
        self.drop_some(pick, deleted)
        for folder in moved:
            self.move_one(pick, folder)
        for path in sorted(self.files)[:touched]:
            self.put(path, self.files[path])
            self.story.append(f"touch {path}")

    @rule(numbers=paragraphs, left=st.integers(0, 2))
    def change_many(self, numbers: list[int], left: int) -> None:
        """Write so many files that the guard minds their removal, most of them copies; or delete most of them."""
        there = [path for path in MANY if path in self.files]
        for path in there[left:]:
            self.drop(path)
        for number, path in enumerate(() if there else MANY):
            self.put(path, make_content(path, numbers[: number % len(numbers) + 1], damaged=False))
        self.story.append(f"{f'delete all but {left}' if there else 'write'} files of south/many")

    # --- operations -----------------------------------------------------------------------------

    @initialize(
        written=st.lists(changes, min_size=1, max_size=8),
        roots=st.sampled_from(FIRST),
        gone=st.sampled_from(OnGone),
        fate=first_fates,
    )
    def create(self, written: list[Change], roots: list[str], gone: OnGone, fate: Fate) -> None:
        """Create the collection over one folder or two."""
        self.is_over = False
        self.put_all(written)
        self.sources = dict.fromkeys(roots, OnGone.REMOVE) | {roots[0]: gone}
        self.story.append(f"index {[(root, gone.value) for root, gone in self.sources.items()]}, {fate}")
        sources = [{"url": self.url(root), "on_gone": gone} for root, gone in self.sources.items()]
        body = {"name": self.name, "sources": sources, "chunk_size": CHUNK_SIZE, "chunk_overlap": 0}

        async def ask() -> list[Operation]:
            return [(await self.system.call("POST", "/collections", body))["operation"]]

        [ended] = self.carry_out(ask, fate)
        self.read_ids()
        states = [self.documents]
        for root in self.sources:
            states.append(append(states[-1], self.files, self.how(root))[0])
        if ended["state"] == "cancelled":
            self.unsettled |= set(self.sources)
        self.judge(states, ended)

    @precondition(lambda self: len(self.sources) < len(ROOTS))
    @rule(pick=picks, gone=st.sampled_from(OnGone), fate=fates)
    def add_source(self, pick: int, gone: OnGone, fate: Fate) -> None:
        """Add a source and bring its documents in."""
        free = [root for root in ROOTS if root not in self.sources]
        root = free[pick % len(free)]
        self.call("POST", "/sources", {"url": self.url(root), "on_gone": gone})
        self.sources[root] = gone
        self.read_ids()
        self.story.append(f"add source {root!r} ({gone.value})")
        self._append(root, full=True, confirmed=False, fate=fate)

    @precondition(lambda self: bool(self.sources))
    @rule(pick=picks, gone=st.sampled_from(OnGone))
    def change_source(self, pick: int, gone: OnGone) -> None:
        """Say what becomes of documents that are gone from now on."""
        root = self.pick_source(pick)
        self.call("PATCH", f"/sources/{self.ids[root]}", {"on_gone": gone})
        self.sources[root] = gone
        self.story.append(f"change source {root!r} to {gone.value}")

    @precondition(lambda self: bool(self.sources))
    @rule(pick=picks, full=st.sampled_from((True, True, False)), confirmed=st.booleans(), fate=fates)
    def append(self, pick: int, full: bool, confirmed: bool, fate: Fate) -> None:  # noqa: FBT001 — drawn by name
        """Bring a source up to date."""
        self._append(self.pick_source(pick), full=full, confirmed=full and confirmed, fate=fate)

    def _append(self, root: str, *, full: bool, confirmed: bool, fate: Fate) -> None:
        mode = "full" if full else "incremental"
        self.story.append(f"append {root!r} {mode}{', confirmed' if confirmed else ''}, {fate}")
        config = {"source_id": self.ids[root], "mode": mode, "confirm_removals": confirmed}
        [ended] = self.carry_out(partial(self.system.append, self.name, config), fate)
        how = self.how(root, full=full, confirmed=confirmed)
        after, is_guarded = append(self.documents, self.files, how)
        if is_guarded or ended["state"] == "cancelled":
            self.unsettled.add(root)
        else:
            self.settle(how)
        self.judge([self.documents, after], ended, guarded=is_guarded)

    @precondition(lambda self: bool(self.sources))
    @rule(pick=picks, written=st.lists(changes, max_size=3), deleted=st.integers(0, 3), fate=deaths)
    def append_meanwhile(self, pick: int, written: list[Change], deleted: int, fate: Fate) -> None:
        """Bring a source up to date while its files change."""
        root, before = self.pick_source(pick), dict(self.files)
        self.story.append(f"append {root!r} full, confirmed, {fate}; when it writes to {fate.table}:")

        def change() -> None:
            self.put_all(written)
            self.drop_some(pick, deleted)

        config = {"source_id": self.ids[root], "mode": "full", "confirm_removals": True}
        [ended] = self.carry_out(partial(self.system.append, self.name, config), fate, meanwhile=change)
        how = self.how(root, confirmed=True)
        self.settle(how)
        self.require_end(ended)
        self.compare([append(self.documents, files, how)[0] for files in (before, self.files)], may_be_of_either)

    @precondition(lambda self: bool(self.sources))
    @rule(pick=picks, numbers=paragraphs)
    def change_what_is_torn(self, pick: int, numbers: list[int]) -> None:
        """Cancel an APPEND that has stored points and written down none; the next one finds other content."""
        root = self.pick_source(pick)
        paths = [path for path in PATHS if path.startswith(root)][:3]
        self.put_all([(path, numbers, False) for path in paths])
        self._append(root, full=True, confirmed=True, fate=TEARS)
        others = [(number + 1) % len(SUBJECTS) for number in numbers]
        self.put_all([(path, others, False) for path in paths])
        self._append(root, full=True, confirmed=True, fate=Fate())

    @precondition(lambda self: bool(self.sources))
    @rule(confirmed=st.booleans(), fate=deaths)
    def sync(self, confirmed: bool, fate: Fate) -> None:  # noqa: FBT001 — drawn by name
        """Bring all sources up to date."""
        self.story.append(f"sync{' confirmed' if confirmed else ''}, {fate}")
        ended = self.carry_out(partial(self.system.sync, self.name, confirmed=confirmed), fate)
        roots = {source: root for root, source in self.ids.items()}
        after = self.documents
        for one in sorted(ended, key=lambda one: str(one["finished_at"])):
            how = self.how(roots[one["source_id"]], confirmed=confirmed)
            after, is_guarded = append(after, self.files, how)
            self.require_end(one, guarded=is_guarded)
            if is_guarded:
                self.unsettled.add(how.root)
            else:
                self.settle(how)
        self.compare([after])

    @precondition(lambda self: bool(self.sources))
    @rule(pick=picks, fate=fates)
    def remove_source(self, pick: int, fate: Fate) -> None:
        """Take a source out of the collection."""
        root = self.pick_source(pick)
        self.story.append(f"remove source {root!r}, {fate}")
        path = f"/collections/{self.name}/sources/{self.ids[root]}"
        [ended] = self.carry_out(partial(self.system.submit, "DELETE", path), fate)
        if ended["state"] == "cancelled":
            self.unsettled.add(root)
        else:
            del self.sources[root]
            self.unsettled = set(self.sources) if root in self.unsettled else self.unsettled
        self.judge([self.documents, remove_source(self.documents, root)], ended)

    @precondition(lambda self: bool(self.list_failed()))
    @rule(count=st.integers(1, 9), fate=fates)
    def retry_documents(self, count: int, fate: Fate) -> None:
        """Try some documents again that have failed."""
        chosen = self.list_failed()[:count]
        self.story.append(f"retry {chosen}, {fate}")
        ids = {each["uri"]: each["id"] for each in self.call("GET", "/documents?limit=100")["documents"]}
        body = {"ids": [ids[self.url(path)] for path in chosen]}
        ask = partial(self.system.submit, "POST", f"/collections/{self.name}/documents/retry", body)
        [ended] = self.carry_out(ask, fate)
        if ended["state"] == "cancelled":
            self.unsettled |= set(self.sources)
        self.judge([self.documents, retry(self.documents, self.files, chosen)], ended)

    @precondition(lambda self: any(document.content for document in self.documents.values()))
    @rule(size=st.sampled_from((None, 16, 24, 40)), extract=st.booleans(), fate=of_rebuilds)
    def reindex(self, size: int | None, extract: bool, fate: Fate) -> None:  # noqa: FBT001 — drawn by name
        """Rebuild the collection; whatever becomes of that, its documents are what they were."""
        self.story.append(f"reindex to {size}{', extract' if extract else ''}, {fate}")
        body = {"gate": "report-only", "extract": extract, **({"chunk_size": size, "chunk_overlap": 0} if size else {})}
        ask = partial(self.system.submit, "POST", f"/collections/{self.name}/reindex", body)
        [ended] = self.carry_out(ask, fate)
        self.can_go_back |= ended["state"] == "completed"
        self.judge([self.documents, self.documents], ended)

    @precondition(lambda self: self.can_go_back)
    @rule(fate=of_rebuilds)
    def roll_back(self, fate: Fate) -> None:
        """Go back to the generation that served before, or forward again."""
        self.story.append(f"roll back, {fate}")
        ask = partial(self.system.submit, "POST", f"/collections/{self.name}/rollback")
        [ended] = self.carry_out(ask, fate)
        self.judge([self.documents, self.documents], ended)

    def teardown(self) -> None:
        """Bring everything up to date, so that nothing is left of what was stopped; then delete the collection."""
        if self.is_over:
            return
        for _ in range(2):
            for root in self.sources:
                self._append(root, full=True, confirmed=True, fate=Fate())
        self.unsettled.clear()
        self.story.append("at the end")
        self.compare([self.documents])
        self.verify()
        [ended] = self.carry_out(partial(self.system.submit, "DELETE", f"/collections/{self.name}"), Fate())
        self.require_end(ended)
