"""The gate of a rebuild: its report is kept, told and, if it refuses, raised."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from app.db.attempts import AttemptRepository
from app.db.search_logs import SearchLogRepository
from app.domain.collections import Collection, Generation
from app.domain.errors import DomainError
from app.domain.operations import Operation
from app.domain.ports import Embedder
from app.domain.rebuild_errors import ValidationFailedError
from app.embedders.missing import MissingEmbedder
from app.evaluation.policy import parse_policy
from app.evaluation.report import Report
from app.jobs.context import JobContext
from app.jobs.judged_queries import list_judged_queries
from app.pipeline.validation.gate import validate
from app.pipeline.validation.sides import GivenQuery, Side, Sizes, Validation
from app.search.service import SearchService


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Compares ``new`` with ``old``, which serves; nobody may write to the collection meanwhile."""

    job: JobContext
    operation: Operation
    collection: Collection
    old: Generation
    new: Generation
    is_same_text: bool = True

    async def require(self, result: dict[str, Any]) -> dict[str, Any]:
        """The result with the report in it, which is kept however the operation ends.

        Raises:
            ValidationFailedError: if a hard check has failed.
        """
        report = await self._validate()
        told = report.to_dict()
        result = {**result, "validation": told}
        # also an attempt that cannot say so any more has a result
        async with self.job.resources.database.fenced(self.job.lease) as connection:
            await AttemptRepository(connection).keep_result(self.job.lease, result)
        await self.job.report.send_update("validation_complete", told)
        if not report.passed:
            raise ValidationFailedError([check.name for check in report.checks if check.hard and not check.passed])
        return result

    async def _validate(self) -> Report:
        job, resources = self.job, self.job.resources
        search = SearchService(resources.database, resources.store, resources.find_embedder)

        async def tell(stage: str, done: int, total: int) -> None:
            await job.report.send_update("validation_progress", {"stage": stage, "done": done, "total": total})

        async with resources.database.begin() as connection:
            asked = await SearchLogRepository(connection).list_recent_queries(self.collection.id, limit=Sizes().given)
            judged = await list_judged_queries(connection, self.collection.id)
        return await validate(
            Validation(
                database=resources.database,
                store=resources.store,
                processes=resources.processes,
                find_hits=partial(search.find_hits, self.collection),
                old=Side(generation=self.old, embedder=self._find_old_embedder()),
                new=Side(generation=self.new, embedder=job.find_embedder(self.new.model)),
                policy=parse_policy(self.operation.config.get("gate")),
                given=[*judged, *(GivenQuery(text=query) for query in asked)],
                is_same_text=self.is_same_text,
                tokenizer=resources.limits.tokenizers.get(self.new.model),
                sizes=Sizes().scaled(resources.gate_sample),
                tell=tell,
            )
        )

    def _find_old_embedder(self) -> Embedder:
        """The model of the generation that serves, which may be gone: then what needs it says so."""
        try:
            return self.job.resources.find_embedder(self.old.model)
        except DomainError as error:
            return MissingEmbedder(self.old.model, error)
