"""Rebuilding a collection beside what serves, and going back."""

from fastapi import APIRouter

from app.api.auth import CallerDep, ServicesDep
from app.api.operations import CollectionRef, IdempotencyKey, OperationBody, PriorityName, RunAfter, begin_reindex
from app.api.reindex_config import ReindexConfig
from app.domain.operations import Priority, Submission
from app.traces import current_trace_parent

router = APIRouter(tags=["collections"])


class ReindexRequest(ReindexConfig):
    """A rebuild, and when it begins."""

    priority: PriorityName = PriorityName.NORMAL
    run_after: RunAfter = None

    def submission(self, idempotency_key: str | None) -> Submission:
        """How it is submitted."""
        return Submission(
            idempotency_key=idempotency_key,
            priority=Priority[self.priority.name],
            run_after=self.run_after,
            max_runtime_seconds=self.max_runtime_seconds,
            trace_parent=current_trace_parent(),
        )


AS_IT_IS = ReindexRequest()


@router.post("/collections/{collection}/reindex", status_code=202)
async def reindex_collection(
    collection: CollectionRef,
    caller: CallerDep,
    services: ServicesDep,
    body: ReindexRequest = AS_IT_IS,
    idempotency_key: IdempotencyKey = None,
) -> OperationBody:
    """Rebuild a collection with another model, other chunks or another extraction, and switch if the gate lets it.

    It can be searched and written to all the time.
    """
    operation = await begin_reindex(
        services, caller.user_id, collection, body, submission=body.submission(idempotency_key)
    )
    return OperationBody.of(operation)


@router.post("/collections/{collection}/rollback", status_code=202)
async def roll_back_collection(
    collection: CollectionRef, caller: CallerDep, services: ServicesDep, idempotency_key: IdempotencyKey = None
) -> OperationBody:
    """Go back to the generation that served before the last switch, with everything that was changed since."""
    submission = Submission(idempotency_key=idempotency_key, trace_parent=current_trace_parent())
    return OperationBody.of(await services.rebuilds.roll_back(caller.user_id, collection, submission=submission))
