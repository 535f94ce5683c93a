"""What a scan finds in a source, and what an operation has made of it: see ``documents.change``."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.types import TypeEngine

from app.db.documents import ManifestRows, safe_message
from app.db.shared_documents import IS_SHARED
from app.db.statements import BYTES, INTEGERS, TEXTS, UUIDS, parsed
from app.domain.documents import ScannedDocument
from app.domain.identity import document_id

# `same` compares content where the scan has read it, else what the source names its version by, else size and time.
# Links come as one text a document, for arrays of arrays have one length.
JUDGED = """
WITH input AS (
    SELECT * FROM unnest(:ids, :uris, :paths, :offsets, :lengths, :sizes, :times, :positions, :hashes, :codes,
                         :messages, :etags, :links)
      AS t (id, uri, path, record_offset, record_length, size, modified_ns, position, content_hash, error_code,
            error_message, etag, links)
), judged AS (
    SELECT i.*, d.state AS old_state, d.change AS old_change, d.content_hash IS NULL AS never_indexed,
           d.content_hash AS old_hash, d.source_id AS old_source, d.error_code AS old_code, d.path AS old_path,
           d.seen_by AS old_seen_by, coalesce(d.source_id <> :source AND d.state <> 'removed', false) AS is_elsewhere,
           coalesce(d.changed_by = :operation, false) AS ours,
           CASE WHEN i.error_code IS NOT NULL THEN 'failed'
                WHEN d.id IS NULL OR NOT same.it THEN 'pending'
                WHEN d.state IN ('completed', 'needs_ocr') THEN d.state
                WHEN d.state = 'failed' AND d.attempts >= :max_attempts THEN 'failed'
                ELSE 'pending' END AS new_state,
           coalesce(same.it, false) AS same
    FROM input i LEFT JOIN documents d ON d.id = i.id
    LEFT JOIN LATERAL (
        SELECT CASE WHEN i.content_hash IS NOT NULL AND d.content_hash IS NOT NULL
                    THEN d.content_hash = i.content_hash
                    WHEN i.etag IS NOT NULL THEN d.etag IS NOT DISTINCT FROM i.etag
                    ELSE d.size = i.size AND d.modified_ns = i.modified_ns END AS it) same ON true
), decided AS (
    SELECT *,
           CASE WHEN error_code IS NOT NULL THEN NULL
                WHEN old_state IS NULL OR old_state = 'removed' THEN 'added'
                WHEN old_change = 'added' AND (ours OR old_state IN ('pending', 'processing')) THEN 'added'
                WHEN NOT same THEN CASE WHEN never_indexed AND old_change IS NULL THEN 'added' ELSE 'changed' END
                WHEN ours THEN old_change
                WHEN old_state IN ('pending', 'processing')
                  THEN coalesce(old_change, CASE WHEN never_indexed THEN 'added' ELSE 'changed' END)
                WHEN new_state = 'pending' THEN 'retried' END AS change
    FROM judged
)
"""
"""What a scan makes of its documents, as ``decided``; nothing is written."""

# A document of another source that needs nothing stays there; else it comes here, and the other one shares it.
_UPSERT = f"""{JUDGED}, taken AS (
    SELECT *, is_elsewhere AND new_state <> 'pending' AND error_code IS NULL AS is_kept FROM decided
), shared AS (
    INSERT INTO document_sources AS h (document_id, source_id, path, seen_by)
    SELECT id, CAST(:source AS uuid), path, CAST(:scan AS uuid) FROM taken WHERE is_kept
    UNION ALL SELECT id, old_source, old_path, old_seen_by FROM taken WHERE is_elsewhere AND NOT is_kept
    ON CONFLICT (document_id, source_id) DO UPDATE SET path = excluded.path, seen_by = excluded.seen_by
    RETURNING h.document_id, h.source_id, h.xmax = 0 AS is_new
), relabelled AS (
    UPDATE documents d SET stale_labels = coalesce(d.stale_labels, 'sources') FROM shared
    WHERE shared.is_new AND shared.source_id = :source AND d.id = shared.document_id
), come AS (
    DELETE FROM document_sources h USING taken
    WHERE taken.is_elsewhere AND NOT taken.is_kept AND h.document_id = taken.id AND h.source_id = :source
), written AS (
    INSERT INTO documents AS d (id, collection_id, source_id, uri, path, record_offset, record_length, size,
        modified_ns, position, state, error_code, error_message, seen_by, last_seen_at, change, changed_by,
        etag, links)
    SELECT id, :collection, :source, uri, path, record_offset, record_length, size, modified_ns, position,
           new_state, error_code, error_message, :scan, now(), change,
           CASE WHEN change IS NOT NULL THEN CAST(:operation AS uuid) END, etag, string_to_array(links, chr(10))
    FROM taken WHERE NOT is_kept
    ON CONFLICT (id) DO UPDATE SET
        source_id = excluded.source_id, path = excluded.path, record_offset = excluded.record_offset,
        record_length = excluded.record_length, size = excluded.size, modified_ns = excluded.modified_ns,
        position = excluded.position, seen_by = excluded.seen_by, last_seen_at = excluded.last_seen_at,
        state = excluded.state,
        change = CASE WHEN excluded.error_code IS NULL THEN coalesce(excluded.change, d.change) END,
        changed_by = CASE WHEN excluded.error_code IS NULL THEN coalesce(excluded.changed_by, d.changed_by) END,
        points_dirty = d.points_dirty OR d.state = 'processing', gone_since = NULL,
        stale_labels = CASE WHEN d.source_id <> excluded.source_id AND d.state <> 'removed' THEN 'path'
                            ELSE d.stale_labels END,
        attempts = CASE WHEN d.size = excluded.size AND d.modified_ns = excluded.modified_ns
                             AND d.etag IS NOT DISTINCT FROM excluded.etag THEN d.attempts ELSE 0 END,
        etag = excluded.etag, links = excluded.links,
        error_code = CASE WHEN excluded.state IN ('failed', 'needs_ocr')
                          THEN coalesce(excluded.error_code, d.error_code) END,
        error_message = CASE WHEN excluded.state IN ('failed', 'needs_ocr')
                             THEN coalesce(excluded.error_message, d.error_message) END
)
SELECT count(*) AS found,
       count(*) FILTER (WHERE error_code IS NOT NULL) AS errors,
       count(*) FILTER (WHERE change = 'added') AS new,
       count(*) FILTER (WHERE change = 'changed') AS changed,
       count(*) FILTER (WHERE error_code IS NULL AND coalesce(change NOT IN ('added', 'changed'), true)) AS unchanged,
       count(*) FILTER (WHERE new_state = 'pending') AS pending,
       count(*) FILTER (WHERE new_state = 'pending' AND ours AND old_state = 'completed') AS completed_again,
       count(*) FILTER (WHERE new_state = 'pending' AND ours AND old_state = 'failed') AS failed_again,
       count(*) FILTER (WHERE new_state = 'pending' AND ours AND old_state = 'needs_ocr') AS needs_ocr_again,
       coalesce(sum(size), 0)::bigint AS bytes
FROM decided
"""


SCAN_TYPES: dict[str, TypeEngine[Any]] = {
    "ids": UUIDS,
    "hashes": BYTES,
    **dict.fromkeys(("uris", "paths", "codes", "messages", "etags", "links"), TEXTS),
    **dict.fromkeys(("offsets", "lengths", "sizes", "times", "positions"), INTEGERS),
}


def scan_values(
    collection_id: UUID, scanned: Sequence[ScannedDocument], *, first_position: int
) -> dict[str, Sequence[object]]:
    """The parameters of ``JUDGED`` that scanned documents are."""
    return {
        "ids": [document_id(collection_id, item.uri) for item in scanned],
        "uris": [item.uri for item in scanned],
        "paths": [item.path for item in scanned],
        "offsets": [item.locator.offset for item in scanned],
        "lengths": [item.locator.length for item in scanned],
        "sizes": [item.size for item in scanned],
        "times": [item.modified_ns for item in scanned],
        "positions": list(range(first_position, first_position + len(scanned))),
        "hashes": [item.content_hash for item in scanned],
        "codes": [item.error_code for item in scanned],
        "messages": [safe_message(item.error_message) for item in scanned],
        "etags": [item.etag for item in scanned],
        "links": [None if item.links is None else "\n".join(item.links) for item in scanned],
    }


class ScanRepository(ManifestRows):
    """Scans of one collection's sources; never commits."""

    async def record_scan(
        self,
        source_id: UUID,
        scanned: Sequence[ScannedDocument],
        *,
        scan: UUID,
        operation_id: UUID,
        first_position: int,
        max_attempts: int,
    ) -> dict[str, int]:
        """Upsert a batch of scanned documents and say how many are found, new, changed, unchanged, pending.

        What an earlier attempt at the same operation has added or changed is still this operation's work, and so is
        what an operation before it had found and never got to.

        A document whose state is ``pending`` afterwards has to be ingested.
        """
        values = {
            "collection": self._collection,
            "source": source_id,
            "scan": scan,
            "operation": operation_id,
            "max_attempts": max_attempts,
            **scan_values(self._collection, scanned, first_position=first_position),
        }
        row = (await self._connection.execute(parsed(_UPSERT, **SCAN_TYPES), values)).mappings().one()
        return {name: int(row[name]) for name in row}

    async def count_settled(self, source_ids: Sequence[UUID], *, operation_id: UUID) -> dict[str, int]:
        """Documents of sources that an operation has taken up and that need no more work, by state."""
        rows = await self._execute(
            """SELECT state, count(*) AS n FROM documents WHERE source_id = ANY(:sources) AND changed_by = :operation
               AND state IN ('completed', 'failed', 'needs_ocr') GROUP BY state""",
            sources=list(source_ids),
            operation=operation_id,
        )
        return {row["state"]: row["n"] for row in rows}

    async def summarise(
        self, source_ids: Sequence[UUID], *, operation_id: UUID, scans: Sequence[UUID]
    ) -> dict[str, int]:
        """What sources hold and what an operation did to that, each document counted once though sources overlap.

        Keys: ``completed``, ``failed`` and ``needs_ocr`` (states), ``added``, ``changed`` and ``removed`` (by the
        operation), ``unchanged`` (seen by these scans, readable then, and neither added nor changed).
        """
        rows = await self._execute(
            """SELECT count(*) FILTER (WHERE state = 'completed') AS completed,
                      count(*) FILTER (WHERE state = 'failed') AS failed,
                      count(*) FILTER (WHERE state = 'needs_ocr') AS needs_ocr,
                      count(*) FILTER (WHERE ours AND change = 'added') AS added,
                      count(*) FILTER (WHERE ours AND change = 'changed') AS changed,
                      count(*) FILTER (WHERE ours AND change = 'removed') AS removed,
                      count(*) FILTER (WHERE seen_by = ANY(:scans) AND NOT (state = 'failed' AND change = '')
                                       AND NOT (ours AND change IN ('added', 'changed'))) AS unchanged
               FROM (SELECT state, seen_by, coalesce(change, '') AS change,
                            coalesce(changed_by = :operation, false) AS ours
                     FROM documents WHERE source_id = ANY(:sources)
                     UNION ALL
                     SELECT state, h.seen_by, coalesce(change, ''), coalesce(changed_by = :operation, false)
                     FROM documents d JOIN (SELECT DISTINCT ON (document_id) document_id, seen_by
                                            FROM document_sources WHERE source_id = ANY(:sources)
                                            ORDER BY document_id, seen_by = ANY(:scans) DESC) AS h
                       ON h.document_id = d.id AND d.source_id <> ALL(:sources)) AS d""",
            sources=list(source_ids),
            operation=operation_id,
            scans=list(scans),
        )
        return dict(rows[0])

    async def count_gone(self, source_id: UUID, *, scan: UUID) -> int:
        """Documents of the source that this scan has not seen, and that no other source has."""
        rows = await self._execute(
            f"""SELECT count(*) AS n FROM documents d WHERE source_id = :source AND state <> 'removed'
                AND seen_by IS DISTINCT FROM :scan AND NOT {IS_SHARED}""",
            source=source_id,
            scan=scan,
        )
        return int(rows[0]["n"])

    async def list_gone(self, source_id: UUID, *, scan: UUID, limit: int) -> list[UUID]:
        """Some documents of the source that this scan has not seen, or whose removal was not finished."""
        rows = await self._execute(
            """SELECT id FROM documents WHERE source_id = :source AND (state <> 'removed' OR points_dirty)
               AND seen_by IS DISTINCT FROM :scan LIMIT :limit""",
            source=source_id,
            scan=scan,
            limit=limit,
        )
        return [row["id"] for row in rows]
