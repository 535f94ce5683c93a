"""Datasets that a collection is measured with again and again, as their owners want it."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import structlog

from app.db.attached_benchmarks import AttachedBenchmarkRepository
from app.db.audit import record
from app.db.benchmark_datasets import DatasetRepository
from app.db.benchmarks import BenchmarkRepository
from app.db.collections import CollectionRepository
from app.db.database import Database
from app.domain.audit import Subject
from app.domain.benchmarks import (
    AttachedBenchmark,
    Attachment,
    BenchmarkChoice,
    BenchmarkNotAttachedError,
    InvalidBenchmarkError,
)
from app.domain.errors import DomainError
from app.domain.operations import Submission
from app.evaluation.conditions import parse_condition
from app.operations.benchmarks import BenchmarkService, check_choice

log = structlog.get_logger(__name__)

DUE_AT_ONCE = 20


class AttachedBenchmarks:
    """One method, one transaction. Methods of callers raise CollectionNotFoundError and DatasetNotFoundError."""

    def __init__(self, database: Database, benchmarks: BenchmarkService) -> None:
        self._database = database
        self._benchmarks = benchmarks

    async def attach(
        self, user_id: UUID, id_or_name: str, dataset: str, attachment: Attachment
    ) -> list[AttachedBenchmark]:
        """Attach a dataset, or change how it is; all that are attached then.

        Raises:
            InvalidBenchmarkError: if nothing would ever be done with it, or its config cannot be used.
        """
        if not (attachment.is_gate or attachment.after_reindex or attachment.every_seconds):
            raise InvalidBenchmarkError("attached in this way it would never be run; detach it instead")
        check_choice(BenchmarkChoice.from_config(attachment.config, dataset=dataset))
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            found = await DatasetRepository(connection).get(user_id, dataset)
            attached = AttachedBenchmarkRepository(connection)
            await attached.set(collection.id, found.id, attachment)
            told = {
                "is_gate": attachment.is_gate,
                "after_reindex": attachment.after_reindex,
                "every_seconds": attachment.every_seconds,
            }
            subject = Subject(kind="benchmark_dataset", id=found.id, name=found.name)
            await record(connection, "benchmark.attached", subject, collection=collection, after=told)
            return await attached.list_of(collection.id)

    async def detach(self, user_id: UUID, id_or_name: str, dataset: str) -> None:
        """Raises BenchmarkNotAttachedError."""
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            found = await DatasetRepository(connection).get(user_id, dataset)
            if not await AttachedBenchmarkRepository(connection).remove(collection.id, found.id):
                raise BenchmarkNotAttachedError(found.name, collection.name)
            subject = Subject(kind="benchmark_dataset", id=found.id, name=found.name)
            await record(connection, "benchmark.detached", subject, collection=collection)

    async def list(self, user_id: UUID, id_or_name: str) -> list[AttachedBenchmark]:
        """All of a collection, by the names of the datasets."""
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            return await AttachedBenchmarkRepository(connection).list_of(collection.id)

    async def begin_due(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Begin what is due; a benchmark that cannot be begun does not keep others from it."""
        async with self._database.begin() as connection:
            due = await AttachedBenchmarkRepository(connection).list_due(limit=DUE_AT_ONCE)
        begun = 0
        failed = 0
        for attached in [] if dry_run else due:
            try:
                begun += await self._begin(attached)
            except Exception:  # the others are due too; this one stays so
                failed += 1
                log.exception("benchmark_not_begun", collection=str(attached.collection_id))
        return {"due": len(due), "begun": begun, "failed": failed}

    async def _begin(self, attached: AttachedBenchmark) -> bool:
        """Who asks again because it was not noted is given the operation that there is."""
        due = attached.next_at.isoformat() if attached.next_at else "never"
        key = (
            f"attached {attached.collection_id} {attached.dataset_id} {due} {attached.active_generation_id}"
            f" {attached.last_benchmark_id}"
        )
        benchmark_id, error_code = None, None
        try:
            choice = await self._choose(attached)
            operation = await self._benchmarks.create(
                attached.user_id,
                str(attached.collection_id),
                choice,
                submission=Submission(idempotency_key=key),
                is_attached=True,
            )
            benchmark_id = UUID(operation.config["benchmark_id"])
        except DomainError as error:
            if error.retryable:
                raise
            error_code = error.code
            log.warning("benchmark_not_begun", collection=str(attached.collection_id), code=error.code)
        async with self._database.begin() as connection:
            await AttachedBenchmarkRepository(connection).note_begun(
                attached, benchmark_id=benchmark_id, error_code=error_code
            )
        return benchmark_id is not None

    async def _choose(self, attached: AttachedBenchmark) -> BenchmarkChoice:
        """As it is attached; what names no baseline is compared with the benchmark before, once there is one."""
        choice = BenchmarkChoice.from_config(attached.attachment.config, dataset=str(attached.dataset_id))
        if choice.baseline is not None:
            return choice
        async with self._database.begin() as connection:
            before = await BenchmarkRepository(connection).find_baseline(
                attached.collection_id, attached.dataset_id, top_k=choice.top_k
            )
        if before is not None:
            return replace(choice, baseline=str(before))
        return replace(choice, fail_if=tuple(one for one in choice.fail_if if not parse_condition(one).is_relative))
