"""Rows of ``lane_offers`` and ``lanes``: the workers that share the documents of one operation."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from app.db.operation_rows import ALIVE, SELECT, Rows, to_operation
from app.db.statements import UUIDS, parsed
from app.domain.operations import LaneOffer, Lease, LeaseAnswer, Operation

# Its worker is known to have ended, or has not renewed the lane in time and stopped writing before that.
_IS_DEAD = """(l.lease_until < now()
    OR EXISTS (SELECT 1 FROM workers w WHERE w.id = l.worker_id AND w.stopped_at IS NOT NULL))"""


class LaneRepository(Rows):
    """Offers, joins, keeps and ends lanes; never commits."""

    async def offer(self, lease: Lease, offer: LaneOffer) -> None:
        """Let other workers share the attempt's documents from now on."""
        await self._connection.execute(
            parsed(
                """INSERT INTO lane_offers (operation_id, token, source_id, scan, generation_id)
                   VALUES (:id, :token, :source, :scan, :generation)
                   ON CONFLICT (operation_id) DO UPDATE SET token = excluded.token, source_id = excluded.source_id,
                       scan = excluded.scan, generation_id = excluded.generation_id, created_at = now()"""
            ),
            {
                "id": lease.operation_id,
                "token": lease.token,
                "source": offer.source_id,
                "scan": offer.scan,
                "generation": offer.generation_id,
            },
        )

    async def close(self, lease: Lease) -> None:
        """Let nobody join any more; lanes end when they have done what they have in hand."""
        await self._connection.execute(
            parsed("DELETE FROM lane_offers WHERE operation_id = :id AND token = :token"),
            {"id": lease.operation_id, "token": lease.token},
        )

    async def join(
        self, operation_id: UUID, *, worker_id: UUID, worker: str, lease_seconds: float
    ) -> tuple[Operation, Lease, LaneOffer] | None:
        """Begin a lane; None if there is nothing to share any more. One worker has one lane of an operation."""
        statement = parsed(
            """INSERT INTO lanes (id, operation_id, token, source_id, worker_id, worker, lease_until)
               SELECT :lane, f.operation_id, f.token, f.source_id, :worker_id, :worker,
                      now() + make_interval(secs => :lease)
               FROM lane_offers f JOIN operations o ON o.id = f.operation_id
               WHERE f.operation_id = :id AND o.state = 'running' AND o.lease_token = f.token
                 AND o.worker_id IS DISTINCT FROM :worker_id AND o.cancel_requested_at IS NULL
               ON CONFLICT (operation_id, worker_id) DO NOTHING RETURNING id, token"""
        )
        values = {
            "lane": uuid4(),
            "id": operation_id,
            "worker_id": worker_id,
            "worker": worker,
            "lease": float(lease_seconds),
        }
        made = (await self._connection.execute(statement, values)).mappings().first()
        if made is None:
            return None
        rows = await self._rows(
            f"""{SELECT} JOIN lane_offers f ON f.operation_id = o.id AND f.token = o.lease_token WHERE o.id = :id
                AND f.token = :token""",
            {"id": operation_id, "token": made["token"]},
        )
        offers = await self._rows(
            "SELECT source_id, scan, generation_id FROM lane_offers WHERE operation_id = :id AND token = :token",
            {"id": operation_id, "token": made["token"]},
        )
        lease = Lease(operation_id=operation_id, token=made["token"], lane=made["id"])
        if not rows or not offers:
            await self.leave(lease)
            return None
        return to_operation(rows[0]), lease, LaneOffer(**offers[0])

    async def beat(self, leases: Sequence[Lease], *, lease_seconds: float) -> dict[Lease, LeaseAnswer]:
        """Renew lanes; one whose attempt has ended, or that was taken over, is missing from the answer."""
        statement = parsed(
            """UPDATE lanes l SET lease_until = now() + make_interval(secs => :lease)
               FROM unnest(:ids) AS held (id), operations o JOIN collections c ON c.id = o.collection_id
               WHERE l.id = held.id AND o.id = l.operation_id AND o.lease_token = l.token AND o.state = 'running'
               RETURNING l.id, o.cancel_requested_at IS NOT NULL AS cancel,
                         o.paused_at IS NOT NULL OR c.paused_at IS NOT NULL
                           OR NOT EXISTS (SELECT 1 FROM lane_offers f WHERE f.operation_id = o.id AND f.token = l.token)
                           AS pause""",
            ids=UUIDS,
        )
        values = {"lease": float(lease_seconds), "ids": [lease.lane for lease in leases]}
        rows = (await self._connection.execute(statement, values)).mappings().all()
        answers = {row["id"]: LeaseAnswer(cancel=row["cancel"], pause=row["pause"]) for row in rows}
        return {lease: answers[lease.lane] for lease in leases if lease.lane in answers}

    async def leave(self, lease: Lease) -> None:
        """End a lane; what it still has in hand is pending again, and its points may be half written."""
        await self._end([lease.lane] if lease.lane else [])

    async def end_dead(self, operation_id: UUID) -> int:
        """End lanes that cannot write any more, and give their documents back; how many lanes that were."""
        rows = await self._rows(
            f"SELECT l.id FROM lanes l WHERE l.operation_id = :id AND {_IS_DEAD}", {"id": operation_id}
        )
        return await self._end([row["id"] for row in rows])

    async def _end(self, lanes: Sequence[UUID]) -> int:
        if not lanes:
            return 0
        deleted = parsed("DELETE FROM lanes WHERE id = ANY(:lanes) RETURNING id, source_id", lanes=UUIDS)
        rows = (await self._connection.execute(deleted, {"lanes": list(lanes)})).mappings().all()
        given_back = parsed(
            """UPDATE documents SET state = 'pending', points_dirty = true, lane = NULL
               WHERE source_id = ANY(:sources) AND state = 'processing' AND lane = ANY(:lanes)""",
            lanes=UUIDS,
            sources=UUIDS,
        )
        ended = [row["id"] for row in rows]
        if sources := [row["source_id"] for row in rows if row["source_id"] is not None]:
            await self._connection.execute(given_back, {"lanes": ended, "sources": sources})
        if len(sources) < len(ended):
            of_rebuilds = parsed(
                """UPDATE generation_documents SET state = 'pending', points_dirty = true, lane = NULL
                   WHERE state = 'claimed' AND lane = ANY(:lanes)""",
                lanes=UUIDS,
            )
            await self._connection.execute(of_rebuilds, {"lanes": ended})
        return len(rows)

    async def end_lost(self) -> int:
        """End lanes and offers that belong to no running attempt any more; how many lanes that were.

        A lane has a while to notice itself, for its documents are then given back by whoever had them.
        """
        await self._connection.execute(
            parsed(
                """DELETE FROM lane_offers f WHERE NOT EXISTS (SELECT 1 FROM operations o
                   WHERE o.id = f.operation_id AND o.lease_token = f.token AND o.state = 'running')"""
            )
        )
        rows = await self._rows(
            """SELECT l.id FROM lanes l WHERE l.lease_until < now() - interval '1 minute' AND NOT EXISTS
               (SELECT 1 FROM operations o WHERE o.id = l.operation_id AND o.lease_token = l.token
                  AND o.state = 'running')""",
            {},
        )
        return await self._end([row["id"] for row in rows])

    async def count_workers(self) -> int:
        """Workers that live, and could have a lane of an operation of one of them."""
        rows = await self._rows(f"SELECT count(*) AS n FROM workers w WHERE {ALIVE}", {})
        return int(rows[0]["n"])

    async def count(self, operation_id: UUID, *, besides: UUID | None = None) -> int:
        """Lanes of an operation that have not ended; ``besides`` leaves those of one attempt out."""
        rows = await self._rows(
            "SELECT count(*) AS n FROM lanes WHERE operation_id = :id AND token IS DISTINCT FROM CAST(:token AS uuid)",
            {"id": operation_id, "token": besides},
        )
        return int(rows[0]["n"])
