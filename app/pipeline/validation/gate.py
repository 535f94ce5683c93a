"""Decides whether a new generation may take the place of the one that serves."""

from app.db.validation import ValidationRepository
from app.domain.errors import DomainError
from app.domain.points import StoredCollection
from app.evaluation.checks import Judge
from app.evaluation.policy import CheckName
from app.evaluation.report import Check, Report
from app.pipeline.validation.contents import Contents, read_contents
from app.pipeline.validation.documents import Texts, read_texts, recut
from app.pipeline.validation.meaning import (
    check_filters,
    check_meaning,
    check_model,
    check_neighbours,
    check_words,
)
from app.pipeline.validation.searching import (
    MODES,
    Searches,
    SideFailedError,
    list_queries,
    overlap_of,
    quality_of,
    search_both,
)
from app.pipeline.validation.sides import Validation

OF_SEARCHES = (CheckName.SEARCH_OVERLAP, CheckName.SEARCH_QUALITY, CheckName.LATENCY)


async def validate(validation: Validation) -> Report:
    """Make every check; nobody may write to the collection meanwhile. The same seed gives the same report.

    A refusal is a report, never an error.

    Raises:
        TransientError: if the database, the vector store or the new model does not answer.
        ProcessUnavailableError: if no child process can be started.
    """
    return Report(checks=tuple(await _Gate(validation).make_checks()))


class _Gate:
    """The checks of one validation, in the order of ``CheckName``."""

    def __init__(self, validation: Validation) -> None:
        self._validation = validation
        self._judge = Judge(policy=validation.policy)
        self._checks: dict[CheckName, Check] = {}

    async def make_checks(self) -> list[Check]:
        """All of them."""
        validation, new = self._validation, self._validation.new.generation
        async with validation.database.begin() as connection:
            repository = ValidationRepository(connection, validation.collection_id)
            old_total = await repository.count(validation.old.generation.id)
            total = await repository.count(new.id)
        texts = await read_texts(validation, total=total)
        self._put(
            self._judge.vector_count(old=old_total, new=total, is_comparable=validation.is_same_cut),
            self._judge.documents(texts.coverage, is_same_text=validation.is_same_text),
            self._judge.texts(chunks=texts.chunks, wrong=texts.wrong, repeated=texts.repeated),
        )
        stored = await validation.store.find_collection(new.name)
        if stored is None:
            self._fill_with_missing(total)
        else:
            asked = texts.sample.ids[: validation.sizes.filters]
            contents = await read_contents(validation, asked, dimension=stored.dimension, total=total)
            await self._check_points(contents, texts, stored)
        return [self._checks[name] for name in CheckName]

    def _put(self, *checks: Check) -> None:
        for check in checks:
            self._checks[CheckName(check.name)] = check

    def _fill_with_missing(self, total: int) -> None:
        """There is no collection in the store at all."""
        summary = f"the vector store has no collection for {total} points"
        for name in CheckName:
            if name not in self._checks:
                self._put(self._judge.failed(name, code="generation_missing", summary=summary))

    def _fill_with_nothing(self, *, is_empty: bool) -> None:
        """The new generation holds nothing, which is right if the old one does not either."""
        for name in CheckName:
            if name in self._checks:
                continue
            if is_empty:
                self._put(self._judge.empty(name))
            else:
                self._put(self._judge.failed(name, code="no_points", summary="there is no point to look at"))

    async def _check_points(self, contents: Contents, texts: Texts, stored: StoredCollection) -> None:
        validation, judge = self._validation, self._judge
        canaries = await check_model(validation.new)
        self._put(
            judge.completeness(expected=contents.expected, missing=contents.missing, extra=contents.extra),
            judge.uniformity(contents.shape, canaries),
        )
        documents = texts.sample.ids
        filtered = await check_filters(validation, contents.of_documents)
        self._put(judge.payloads(wrong=contents.payloads, filtered=filtered, asked=len(contents.of_documents)))
        if contents.expected == 0:
            self._fill_with_nothing(is_empty=texts.coverage.documents == 0)
            return
        again = texts.recut
        if not validation.is_same_cut:
            again = await recut(validation, documents[: validation.sizes.recut])
        meaning = await check_meaning(validation, contents.sample)
        self._put(
            judge.chunking(again, too_large=texts.too_large),
            judge.vectors(unbound=contents.unbound, meaning=meaning),
        )
        await self._check_words(contents, has_sparse=stored.has_sparse)
        await self._check_neighbours(contents)
        await self._check_searches(texts)

    async def _check_words(self, contents: Contents, *, has_sparse: bool) -> None:
        found, missed = (0, contents.missing)
        try:
            if has_sparse:
                found, missed = await check_words(self._validation, contents.sample.ids)
        except DomainError as error:
            self._put(self._refuse(CheckName.SPARSE, error))
            return
        self._put(self._judge.sparse(has_sparse=has_sparse, found=found, missed=missed))

    async def _check_neighbours(self, contents: Contents) -> None:
        try:
            recalls = await check_neighbours(self._validation, contents.sample)
        except DomainError as error:
            self._put(self._refuse(CheckName.INDEX_HEALTH, error))
            return
        self._put(self._judge.index_health(recalls))

    async def _check_searches(self, texts: Texts) -> None:
        validation, judge = self._validation, self._judge
        queries = await list_queries(validation, texts.sample.ids)
        if not queries:
            words = "no document has words to ask for"
            self._put(*(judge.unmade(name, reason="no_queries", summary=words) for name in OF_SEARCHES))
            return
        try:
            await self._require_old_model()
            searches = await search_both(validation, queries)
        except SideFailedError as failure:
            for name in OF_SEARCHES:
                self._put(self._failed_side(name, failure))
            return
        self._judge_searches(searches)

    async def _require_old_model(self) -> None:
        """Raises SideFailedError if the old model does not answer, or is not what it was."""
        old = self._validation.old
        try:
            canaries = await check_model(old)
        except DomainError as error:
            raise SideFailedError(old, error.code) from error
        if not canaries.passed:
            raise SideFailedError(old, "embedder_changed")

    def _judge_searches(self, searches: Searches) -> None:
        validation, judge = self._validation, self._judge
        by_mode = {mode.value: overlap_of(searches, mode) for mode in MODES}
        is_comparable = validation.is_same_model and validation.is_same_cut
        self._put(judge.search_overlap(by_mode, is_comparable=is_comparable))
        quality = quality_of(searches, seed=validation.seed)
        if quality.pooled:
            self._put(judge.search_quality(quality, is_same_cut=validation.is_same_cut))
        else:
            words = "nobody knows what answers the queries"
            self._put(judge.unmade(CheckName.SEARCH_QUALITY, reason="no_judgments", summary=words))
        self._put(judge.latency(old_ms=searches.old.milliseconds, new_ms=searches.new.milliseconds))

    def _failed_side(self, name: CheckName, failure: SideFailedError) -> Check:
        if failure.side is self._validation.new:
            summary = f"the new generation cannot be searched ({failure.code})"
            return self._judge.failed(name, code=failure.code, summary=summary)
        summary = f"the old generation cannot be searched ({failure.code})"
        return self._judge.unmade(name, reason=failure.code, summary=summary)

    def _refuse(self, name: CheckName, error: DomainError) -> Check:
        """A check of a search that the store refuses; one that may go well another time is no finding."""
        if error.retryable:
            raise error
        return self._judge.failed(name, code=error.code, summary=f"searches are refused ({error.code})")
