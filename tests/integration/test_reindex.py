"""Collections that are rebuilt beside what serves, and that go back."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text

from app.bootstrap import Parts, configured_endpoints, open_parts, running_worker
from app.bootstrap.upkeep import open_periodic_jobs
from app.db.search_health import SearchHealthRepository, Tally
from app.domain.identity import document_id
from app.domain.points import Vectors
from app.settings import EmbeddingServer, Settings
from benchmarks.corpus import write_corpus
from tests.harness import Api, WorkerProcess, open_client, wait_until
from tests.integration.test_removals import add_source, remove_source
from tests.model_server import FakeModelServer
from tests.reindex.generations import ProjectedServer

DOCUMENTS = 40
SMALL = {"chunk_size": 64, "chunk_overlap": 8}
REPORT_ONLY = {"gate": "report-only"}


async def reindex(api: Api, name: str, **body: Any) -> dict[str, Any]:
    """Ask for a rebuild; gives the operation."""
    answer = await api.client.post(f"/api/v1/collections/{name}/reindex", json=body)
    assert answer.status_code == 202, answer.text
    operation: dict[str, Any] = answer.json()
    return operation


async def roll_back(api: Api, name: str) -> dict[str, Any]:
    """Ask for the way back; gives the operation."""
    answer = await api.client.post(f"/api/v1/collections/{name}/rollback")
    assert answer.status_code == 202, answer.text
    operation: dict[str, Any] = answer.json()
    return operation


async def read_chunks(api: Api, name: str) -> list[tuple[Any, ...]]:
    """Everything the active generation has of each document, told by paths: ids are those of a collection."""
    query = text(
        """SELECT d.path, c.ordinal, c.start_char, c.end_char, c.tokens, c.text, c.headings, c.parent_start, c.gap
           FROM chunks c JOIN documents d ON d.id = c.document_id
           JOIN collections o ON o.id = c.collection_id AND o.active_generation_id = c.generation_id
           WHERE o.name = :name AND o.deleted_at IS NULL ORDER BY d.path, c.ordinal, c.start_char"""
    )
    async with api.parts.database.begin() as connection:
        rows = await connection.execute(query, {"name": name})
        return [tuple(tuple(cell) if isinstance(cell, list) else cell for cell in row) for row in rows]


async def read_documents(api: Api, name: str) -> list[tuple[Any, ...]]:
    """What the manifest says of each document."""
    query = text(
        """SELECT path, state, content_hash, chunk_count, tokens FROM documents d
           JOIN collections o ON o.id = d.collection_id
           WHERE o.name = :name AND o.deleted_at IS NULL AND d.state <> 'removed' ORDER BY path"""
    )
    async with api.parts.database.begin() as connection:
        return [tuple(row) for row in await connection.execute(query, {"name": name})]


async def assert_as_fresh(api: Api, name: str, folder: Path, **options: Any) -> None:
    """Fail unless the collection is what indexing the folder anew gives, and its store agrees."""
    fresh = await api.wait(await api.create("fresh", folder, **options))
    assert fresh["state"] == "completed", fresh
    assert await read_chunks(api, name) == await read_chunks(api, "fresh")
    assert await read_documents(api, name) == await read_documents(api, "fresh")
    await assert_verified(api, name)


async def assert_verified(api: Api, name: str) -> None:
    """Fail unless the manifest and the store agree, vectors and payloads too."""
    await api.assert_consistent(name)
    answer = await api.client.post(
        f"/api/v1/collections/{name}/operations", json={"kind": "VERIFY", "config": {"deep": True}}
    )
    verified = await api.wait(answer.json())
    assert verified["result"]["ok"], verified["result"]


async def count_generations(parts: Parts) -> dict[str, int]:
    """Generations by state, physical collections, and rows of what is beside the active generations."""
    async with parts.database.begin() as connection:
        rows = await connection.execute(text("SELECT state, count(*) AS n FROM generations GROUP BY state"))
        counts = {row.state: row.n for row in rows}
        counts["rows"] = await connection.scalar(text("SELECT count(*) FROM generation_documents")) or 0
        names = {row.name for row in await connection.execute(text("SELECT name FROM generations"))}
        counts["chunks_elsewhere"] = (
            await connection.scalar(
                text(
                    """SELECT count(*) FROM chunks c JOIN generations g ON g.id = c.generation_id
                       WHERE g.state IN ('building', 'dropped')"""
                )
            )
            or 0
        )
    counts["stored"] = sum(name in names for name in await parts.store.list_collections())
    return {name: count for name, count in counts.items() if count}


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a rebuild of few documents has a middle."""
    monkeypatch.setattr("app.pipeline.ingest.GROUP_DOCUMENTS", 4)


def list_files(folder: Path, pattern: str) -> list[Path]:
    """Files by name."""
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A gate that is soon through."""
    return settings.model_copy(update={"reindex_gate_sample": 0.05})


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder of documents of all kinds."""
    root = tmp_path / "corpus"
    write_corpus(root, DOCUMENTS, seed=7)
    return root


# --- what comes out -----------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["recursive", "markdown", "character", "semantic", "hierarchical"])
async def test_other_chunks_are_those_of_a_fresh_index(api: Api, corpus: Path, worker: None, strategy: str) -> None:
    """The stored text is put together again to the last space, so nothing is read again."""
    await api.wait(await api.create("notes", corpus))
    wanted = {**SMALL, "chunk_strategy": strategy}

    ended = await api.wait(await reindex(api, "notes", **wanted, **REPORT_ONLY))

    assert ended["state"] == "completed", ended
    result = ended["result"]
    assert (result["level"], result["documents"], result["documents_failed"]) == ("text", DOCUMENTS, 0)
    collection = (await api.client.get("/api/v1/collections/notes")).json()
    assert collection["chunking"] == {"strategy": strategy, "size": 64, "overlap": 8}
    assert collection["chunks"] == result["chunks"]
    await assert_as_fresh(api, "notes", corpus, **wanted)


async def test_a_rebuild_of_nothing_else_embeds_nothing(api: Api, corpus: Path, worker: None) -> None:
    """Vectors are copied, the gate passes, and events tell of each step in turn."""
    created = await api.wait(await api.create("notes", corpus))

    operation = await reindex(api, "notes")
    ended = await api.wait(operation)

    assert ended["state"] == "completed", ended
    result = ended["result"]
    assert (result["level"], result["tokens"], result["reused_share"]) == ("chunks", 0, 1.0)
    assert result["chunks"] == result["reused_chunks"] == created["result"]["chunks"]
    assert result["validation"]["passed"]
    assert len(result["validation"]["checks"]) == 13
    events = await read_events(api, operation)
    steps = ["reindex_preflight", "generation_created", "validation_complete", "switch_completed"]
    assert [event for event in events if event in steps] == [*steps]
    assert "reprocessing_progress" in events
    assert events[-1] == "operation_completed"
    await assert_as_fresh(api, "notes", corpus)


async def read_events(api: Api, operation: dict[str, Any]) -> list[str]:
    """Types of all events of an operation that has ended."""
    answer = await api.client.get(f"/api/v1/operations/{operation['operation_id']}/events")
    return [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]


async def test_documents_are_extracted_again_if_that_is_asked_for(api: Api, corpus: Path, worker: None) -> None:
    """What has changed at its source since, or is gone, is made of the text that is stored; the rest is read."""
    await api.wait(await api.create("notes", corpus))
    paths = list_files(corpus, "*")
    before = await read_chunks(api, "notes")
    paths[0].write_text("Another text by now.\n")
    paths[1].unlink()

    ended = await api.wait(await reindex(api, "notes", extract=True))

    assert ended["state"] == "completed", ended
    result = ended["result"]
    assert (result["level"], result["documents"], result["documents_outdated"]) == ("source", DOCUMENTS, 1)
    assert [problem["error_code"] for problem in result["problems"]] == ["file_vanished"]
    assert result["documents_failed"] == 1
    assert await read_chunks(api, "notes") == before
    await api.wait(await api.append("notes"))
    await assert_as_fresh(api, "notes", corpus)


async def test_a_source_that_is_not_there_is_no_reason_to_guess(api: Api, corpus: Path, worker: None) -> None:
    """Extracting again needs it; what serves stays, and the rebuild says what is missing."""
    await api.wait(await api.create("notes", corpus))
    corpus.rename(corpus.with_name("elsewhere"))  # noqa: ASYNC240 — nobody waits for it

    ended = await api.wait(await reindex(api, "notes", extract=True))

    assert (ended["state"], ended["error_code"]) == ("failed", "source_not_found"), ended
    await wait_until(lambda: _is_clean(api.parts))


async def test_dry_run_says_what_the_rebuild_does(api: Api, corpus: Path, worker: None) -> None:
    """The same figures as the rebuild's own, and nothing is changed."""
    await api.wait(await api.create("notes", corpus))
    before = await count_generations(api.parts)

    planned = await api.wait(await reindex(api, "notes", **SMALL, dry_run=True))
    after = await count_generations(api.parts)
    ended = await api.wait(await reindex(api, "notes", **SMALL, **REPORT_ONLY))

    assert planned["state"] == ended["state"] == "completed", planned
    plan, result = planned["result"], ended["result"]
    assert before == after
    names = ("level", "documents", "chunks", "tokens", "reused_chunks", "documents_failed")
    assert {name: plan[name] for name in names} == {name: result[name] for name in names}
    assert plan["documents_to_chunk"] == DOCUMENTS
    assert plan["disk_bytes"] > plan["chunks"] * 256 * 4
    assert plan["estimate"]["seconds"][0] <= plan["estimate"]["seconds"][1]


async def test_an_empty_collection_is_rebuilt(api: Api, tmp_path: Path, worker: None) -> None:
    """Nothing is compared with nothing, and the settings are the new ones."""
    empty = tmp_path / "empty"
    empty.mkdir()
    await api.wait(await api.create("notes", empty))

    ended = await api.wait(await reindex(api, "notes", **SMALL))

    assert ended["state"] == "completed", ended
    (empty / "a.md").write_text("# A\n\nWhales sing.\n")
    await api.wait(await api.append("notes"))
    await assert_as_fresh(api, "notes", empty, **SMALL)


# --- other models -------------------------------------------------------------------------------


@asynccontextmanager
async def serving(settings: Settings, *servers: FakeModelServer, **changes: Any) -> AsyncIterator[Api]:
    """The API and a worker that know these models beside the packaged one."""
    others = tuple(EmbeddingServer(model=server.model, url=server.url) for server in servers)
    changed = settings.model_copy(update={"embedding_others": others, **changes})
    async with (
        open_parts(changed, configured_endpoints(changed)) as parts,
        open_client(parts) as client,
        running_worker(parts),
    ):
        yield client


def crude(vector: Vectors) -> Vectors:
    """A model that sees two numbers of meaning in many."""
    padded: Vectors = np.pad(vector[:2], (0, 382))
    return padded


async def test_another_dimension_is_switched_with_its_model(settings: Settings, corpus: Path) -> None:
    """Searches ask the model of the generation that they find, before and after."""
    with ProjectedServer("wide", crude, dimension=384).running() as server:
        async with serving(settings, server) as api:
            await api.wait(await api.create("notes", corpus))
            assert await api.search("notes", "the first whale", mode="dense")

            refused = await api.wait(await reindex(api, "notes", model="wide", keep_refused=True))
            served = (await api.client.get("/api/v1/collections/notes")).json()
            ended = await api.wait(await reindex(api, "notes", model="wide", **REPORT_ONLY))

            assert (refused["state"], refused["error_code"]) == ("failed", "validation_failed"), refused
            assert "search_quality" in refused["error_message"]
            assert not refused["result"]["validation"]["passed"]
            assert served["model"] == "wordllama"
            assert ended["state"] == "completed", ended
            result = ended["result"]
            assert (result["model"], result["dimension"], result["level"]) == ("wide", 384, "chunks")
            # what the refused rebuild has embedded is in the cache
            assert (result["tokens"], result["cache"]["hit_rate"]) == (0, 1.0)
            assert (await api.client.get("/api/v1/collections/notes")).json()["model"] == "wide"
            assert await api.search("notes", "the first whale", mode="dense")
            await assert_as_fresh(api, "notes", corpus, model="wide")
            # the refused one is kept to be looked at, the replaced one to go back to
            assert (await count_generations(api.parts))["retired"] == 2


async def test_a_renamed_model_embeds_nothing(settings: Settings, corpus: Path) -> None:
    """The server calls it otherwise, and answers to the old name no more: its vectors are what they were."""
    with FakeModelServer(model="old-name").running() as server:
        async with serving(settings, server, embedding_cache_bytes=0) as api:
            await api.wait(await api.create("notes", corpus, model="old-name"))
            server.model = "new-name"
            embedded = len(server.texts)
        async with serving(settings, server, embedding_cache_bytes=0) as api:
            ended = await api.wait(await reindex(api, "notes", model="new-name"))

            assert ended["state"] == "completed", ended
            assert (ended["result"]["tokens"], ended["result"]["reused_share"]) == (0, 1.0)
            checks = {check["name"]: check for check in ended["result"]["validation"]["checks"]}
            # the old name cannot be asked any more
            assert checks["search_overlap"]["value"] is None
            asked = set(server.texts[embedded:])
            assert len(asked) < 1000
            assert await api.search("notes", "the first whale", mode="dense")


async def test_documents_the_new_model_refuses_fail_the_gate(settings: Settings, corpus: Path) -> None:
    """They are named, and whoever takes the rebuild all the same has them as failed documents."""
    (corpus / "poison.md").write_text("# Poison\n\nNobody embeds arsenic here.\n")
    with FakeModelServer(model="picky").running() as server:
        server.poison = "arsenic"
        async with serving(settings, server) as api:
            await api.wait(await api.create("notes", corpus))

            refused = await api.wait(await reindex(api, "notes", model="picky"))
            taken = await api.wait(await reindex(api, "notes", model="picky", **REPORT_ONLY))

            assert refused["error_code"] == "validation_failed", refused
            checks = {check["name"]: check for check in refused["result"]["validation"]["checks"]}
            assert not checks["documents"]["passed"]
            assert taken["state"] == "completed", taken
            assert taken["result"]["documents_failed"] == 1
            documents = (await api.client.get("/api/v1/collections/notes/documents?state=failed")).json()["documents"]
            assert [(item["path"], item["error_code"]) for item in documents] == [("poison.md", "embedder_rejected")]
            await api.assert_consistent("notes")


async def test_an_unknown_model_is_refused_and_nothing_begun(api: Api, corpus: Path, worker: None) -> None:
    """The operation fails at once and says which models there are."""
    await api.wait(await api.create("notes", corpus))

    ended = await api.wait(await reindex(api, "notes", model="nobody"))

    assert (ended["state"], ended["error_code"]) == ("failed", "unknown_model"), ended
    assert await count_generations(api.parts) == {"active": 1, "stored": 1}


# --- what happens beside it ---------------------------------------------------------------------


async def test_changes_beside_a_rebuild_are_in_it(settings: Settings, corpus: Path, tmp_path: Path) -> None:
    """Documents are added, changed and removed, and a source goes, while it builds: as if they had been so before."""
    with FakeModelServer(model="slow").running() as server:
        async with serving(settings, server) as api:
            extra = tmp_path / "extra"
            write_corpus(extra, 8, seed=9)
            await api.wait(await api.create("notes", corpus))
            await add_source(api, "notes", extra)
            server.seconds_per_text = 0.004

            operation = await reindex(api, "notes", model="slow", **SMALL, **REPORT_ONLY)
            await wait_until(lambda: _has_held(api.parts, 5))
            paths = list_files(corpus, "*.md")
            paths[0].write_text("# Changed\n\nThis text is another one.\n")
            paths[1].unlink()
            (corpus / "added.md").write_text("# Added\n\nThis document is new.\n")
            appended = await api.wait(await api.append("notes"))
            removed = await api.wait(await remove_source(api, "notes", extra))
            assert (await api.get(operation))["state"] == "running"
            ended = await api.wait(operation, seconds=120)

            assert appended["state"] == removed["state"] == ended["state"] == "completed", ended
            await assert_as_fresh(api, "notes", corpus, model="slow", **SMALL)


async def _has_held(parts: Parts, number: int) -> bool:
    async with parts.database.begin() as connection:
        held = await connection.scalar(text("SELECT count(*) FROM generation_documents WHERE state = 'held'"))
    return (held or 0) >= number


async def test_writers_wait_for_the_last_round_only(settings: Settings, corpus: Path) -> None:
    """An APPEND that is asked for while the rebuild has its turn says behind whom it waits, and comes after."""
    with FakeModelServer(model="slow").running() as server:
        async with serving(settings, server) as api:
            await api.wait(await api.create("notes", corpus))
            operation = await reindex(api, "notes", model="slow", **REPORT_ONLY)
            await wait_until(lambda: _writes(api.parts))

            (corpus / "added.md").write_text("# Added\n\nThis document is new.\n")
            append = await api.append("notes")
            waiting = await api.get(append)
            ended, appended = await api.wait(operation), await api.wait(append)

            assert f"behind operation {operation['operation_id']}" in (waiting["why_waiting"] or ""), waiting
            assert ended["state"] == appended["state"] == "completed"
            assert ended["finished_at"] <= appended["started_at"]
            await assert_as_fresh(api, "notes", corpus, model="slow")


async def _writes(parts: Parts) -> bool:
    query = "SELECT EXISTS (SELECT 1 FROM operations WHERE kind = 'REINDEX' AND state = 'running' AND writes)"
    async with parts.database.begin() as connection:
        return bool(await connection.scalar(text(query)))


async def test_a_rebuild_follows_a_writer_and_goes_before_the_next(settings: Settings, corpus: Path) -> None:
    """It waits for an APPEND that writes, keeps up with it, and no other one begins in between."""
    with FakeModelServer(model="slow").running() as server:
        async with serving(settings, server) as api:
            await api.wait(await api.create("notes", corpus, model="slow"))
            write_corpus(corpus / "more", 10, seed=11)
            server.held = True
            append = await api.wait(await api.append("notes"), states=["running"])
            operation = await reindex(api, "notes", model="wordllama", **REPORT_ONLY)
            await wait_until(lambda: _wants_to_write(api.parts))
            (corpus / "added.md").write_text("# Added\n\nThis document is new.\n")
            later = await api.append("notes")
            waiting = await wait_until(lambda: _why_waiting(api, operation))
            server.held = False

            ended = [await api.wait(one) for one in (append, operation, later)]

            assert append["operation_id"] in waiting
            assert [one["state"] for one in ended] == ["completed"] * 3, ended
            assert ended[0]["finished_at"] <= ended[1]["finished_at"] <= ended[2]["started_at"]
            await assert_as_fresh(api, "notes", corpus)


async def _wants_to_write(parts: Parts) -> bool:
    query = "SELECT EXISTS (SELECT 1 FROM operations WHERE wants_to_write AND NOT writes AND state = 'running')"
    async with parts.database.begin() as connection:
        return bool(await connection.scalar(text(query)))


async def _why_waiting(api: Api, operation: dict[str, Any]) -> str | None:
    why: str | None = (await api.get(operation))["why_waiting"]
    return why if why and why.startswith("behind operation") else None


async def test_one_rebuild_at_a_time(settings: Settings, corpus: Path) -> None:
    """A second one, and a rollback, are refused while one is there; a dry run is not."""
    with FakeModelServer(model="slow").running() as server:
        async with serving(settings, server) as api:
            await api.wait(await api.create("notes", corpus))
            await api.wait(await reindex(api, "notes"))
            server.held = True
            operation = await reindex(api, "notes", model="slow")

            second = await api.client.post("/api/v1/collections/notes/reindex", json={})
            back = await api.client.post("/api/v1/collections/notes/rollback")
            planned = await api.wait(await reindex(api, "notes", dry_run=True))
            cancelled = await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
            ended = await api.wait(operation)
            third = await api.wait(await reindex(api, "notes"))

            for refused in (second, back):
                assert (refused.status_code, refused.json()["code"]) == (409, "rebuild_in_progress")
                assert operation["operation_id"] in refused.json()["detail"]
            assert cancelled.status_code == 202
            assert (planned["state"], ended["state"], third["state"]) == ("completed", "cancelled", "completed")


async def test_a_cancelled_rebuild_leaves_nothing(settings: Settings, corpus: Path) -> None:
    """In the middle of its work, and while it waits between two attempts."""
    with FakeModelServer(model="slow").running() as server:
        async with serving(settings, server) as api:
            await api.wait(await api.create("notes", corpus))
            before = await read_chunks(api, "notes")
            server.seconds_per_text = 0.005

            running = await reindex(api, "notes", model="slow", **SMALL)
            await wait_until(lambda: _has_held(api.parts, 2))
            await api.client.post(f"/api/v1/operations/{running['operation_id']}/cancel")
            first = await api.wait(running)
            await wait_until(lambda: _is_clean(api.parts))
            paused = await reindex(api, "notes", model="slow", **SMALL)
            await wait_until(lambda: _has_held(api.parts, 2))
            await api.client.post(f"/api/v1/operations/{paused['operation_id']}/pause")
            await api.wait(paused, states=["pending"])
            await api.client.post(f"/api/v1/operations/{paused['operation_id']}/cancel")
            second = await api.wait(paused)
            await wait_until(lambda: _is_clean(api.parts))

            assert (first["state"], second["state"]) == ("cancelled", "cancelled")
            assert await read_chunks(api, "notes") == before
            # what it had was not all for nothing
            server.seconds_per_text = 0.0
            again = await api.client.post(f"/api/v1/operations/{paused['operation_id']}/retry")
            ended = await api.wait(again.json())
            assert ended["error_code"] == "validation_failed", ended
            assert ended["result"]["cache"]["hits"] > 0


async def _is_clean(parts: Parts) -> bool:
    counts = await count_generations(parts)
    return (counts.get("rows"), counts.get("chunks_elsewhere"), counts["stored"]) == (None, None, 1)


async def test_a_paused_rebuild_goes_on_where_it_was(settings: Settings, corpus: Path) -> None:
    """Nothing is embedded twice, and the pause lets writers through."""
    with FakeModelServer(model="slow").running() as server:
        async with serving(settings, server, embedding_cache_bytes=0) as api:
            await api.wait(await api.create("notes", corpus))
            server.seconds_per_text = 0.01
            operation = await reindex(api, "notes", model="slow", **REPORT_ONLY)
            await wait_until(lambda: _has_held(api.parts, 2))
            await api.client.post(f"/api/v1/operations/{operation['operation_id']}/pause")
            await api.wait(operation, states=["pending"])
            appended = await api.wait(await api.append("notes"))
            server.seconds_per_text = 0.0
            await api.client.post(f"/api/v1/operations/{operation['operation_id']}/resume")
            ended = await api.wait(operation)

            assert appended["state"] == ended["state"] == "completed", ended
            assert ended["attempt"] == 2
            chunks = (await api.client.get("/api/v1/collections/notes")).json()["chunks"]
            assert ended["result"]["chunks"] == chunks
            await assert_as_fresh(api, "notes", corpus, model="slow")


# --- back ---------------------------------------------------------------------------------------


async def test_rollback_has_what_was_changed_since(api: Api, corpus: Path, worker: None) -> None:
    """Adds, changes and removals after the switch are in the generation of before, and forward it is the same."""
    await api.wait(await api.create("notes", corpus))
    await api.wait(await reindex(api, "notes", **SMALL, **REPORT_ONLY))
    paths = list_files(corpus, "*.md")
    paths[0].write_text("# Changed\n\nThis text is another one.\n")
    paths[1].unlink()
    (corpus / "added.md").write_text("# Added\n\nThis document is new.\n")
    await api.wait(await api.append("notes"))

    back = await api.wait(await roll_back(api, "notes"))
    collection = (await api.client.get("/api/v1/collections/notes")).json()

    assert back["state"] == "completed", back
    assert (back["kind"], back["result"]["level"]) == ("ROLLBACK", "text")
    assert collection["chunking"]["size"] == 400
    await assert_as_fresh(api, "notes", corpus)
    (corpus / "added.md").write_text("# Added\n\nThis document was new and is changed.\n")
    await api.wait(await api.append("notes"))
    forward = await api.wait(await roll_back(api, "notes"))
    assert forward["state"] == "completed", forward
    assert (await api.client.get("/api/v1/collections/notes")).json()["chunking"]["size"] == 64
    await api.wait((await api.client.delete("/api/v1/collections/fresh")).json())
    await assert_as_fresh(api, "notes", corpus, **SMALL)


async def test_there_may_be_nothing_to_go_back_to(api: Api, corpus: Path, worker: None) -> None:
    """Before any rebuild, and once the generation of before is dropped."""
    await api.wait(await api.create("notes", corpus))

    before = await api.client.post("/api/v1/collections/notes/rollback")
    missing = await api.client.post("/api/v1/collections/none/rollback")

    assert (before.status_code, before.json()["code"]) == (409, "nothing_to_roll_back")
    assert (missing.status_code, missing.json()["code"]) == (404, "collection_not_found")


async def test_the_alias_follows_a_switch_that_was_cut_off(api: Api, corpus: Path, worker: None) -> None:
    """Whatever it names, within one round of the periodic job it names what serves."""
    ended = await api.wait(await api.create("notes", corpus))
    rebuilt = await api.wait(await reindex(api, "notes"))
    alias = f"vecloom_{ended['collection_id']}"
    assert (await api.parts.store.list_aliases())[alias] == rebuilt["result"]["to"]

    await api.parts.store.set_alias(alias, to=rebuilt["result"]["from"])

    async def is_back() -> bool:
        return bool((await api.parts.store.list_aliases())[alias] == rebuilt["result"]["to"])

    await wait_until(is_back)


async def test_a_collection_is_deleted_beside_its_rebuild(settings: Settings, corpus: Path) -> None:
    """The rebuild is cancelled, and nothing is left of either generation."""
    with FakeModelServer(model="slow").running() as server:
        async with serving(settings, server) as api:
            await api.wait(await api.create("notes", corpus))
            server.seconds_per_text = 0.005
            operation = await reindex(api, "notes", model="slow", **SMALL)
            await wait_until(lambda: _has_held(api.parts, 2))

            answer = await api.client.delete("/api/v1/collections/notes")
            deleted, ended = await api.wait(answer.json()), await api.wait(operation)

            assert (deleted["state"], ended["state"]) == ("completed", "cancelled")
            assert await count_generations(api.parts) == {}
            async with api.parts.database.begin() as connection:
                assert await connection.scalar(text("SELECT count(*) FROM chunks")) == 0


async def test_wrong_wishes_are_refused(api: Api, corpus: Path, worker: None) -> None:
    """Before anything is queued, with what to change."""
    await api.wait(await api.create("notes", corpus))
    wishes: dict[str, tuple[dict[str, Any], int, str]] = {
        "policy": ({"gate": "lenient"}, 422, "invalid_gate_policy"),
        "threshold": ({"gate": {"checks": {"latency": {"threshold": -1}}}}, 422, "invalid_gate_policy"),
        "overlap": ({"chunk_size": 64, "chunk_overlap": 64}, 422, "invalid_request"),
        "size": ({"chunk_size": 1}, 422, "invalid_request"),
        "field": ({"modle": "x"}, 422, "invalid_request"),
    }

    answers = {
        name: await api.client.post("/api/v1/collections/notes/reindex", json=body)
        for name, (body, _, _) in wishes.items()
    }

    assert {name: (answer.status_code, answer.json()["code"]) for name, answer in answers.items()} == {
        name: (status, code) for name, (_, status, code) in wishes.items()
    }
    operations = (await api.client.get("/api/v1/operations")).json()["operations"]
    assert [operation["kind"] for operation in operations] == ["INDEX"]


async def test_searches_find_what_there_is_all_the_time(settings: Settings, corpus: Path) -> None:
    """None fails, none is empty and none mixes two generations while a collection is rebuilt and goes back."""
    with FakeModelServer(model="wide", dimension=48).running() as server:
        async with serving(settings, server) as api:
            await api.wait(await api.create("notes", corpus))
            answers: list[dict[str, Any]] = []
            stop = asyncio.Event()

            async def search_on() -> None:
                while not stop.is_set():
                    body = {"query": "the first chunk of a document", "limit": 5}
                    answer = await api.client.post("/api/v1/collections/notes/search", json=body)
                    answers.append({"status": answer.status_code, **answer.json()})

            async with asyncio.TaskGroup() as tasks:
                for _ in range(4):
                    tasks.create_task(search_on())
                try:
                    rebuilt = await api.wait(await reindex(api, "notes", model="wide", **SMALL, **REPORT_ONLY))
                    back = await api.wait(await roll_back(api, "notes"))
                finally:
                    stop.set()

            assert rebuilt["state"] == back["state"] == "completed", (rebuilt, back)
            assert {answer["status"] for answer in answers} == {200}
            assert all(answer["hits"] for answer in answers)
            seen = {answer["generation"] for answer in answers}
            assert seen == {rebuilt["result"]["from"], rebuilt["result"]["to"]}
            async with api.parts.database.begin() as connection:
                rows = await connection.execute(
                    text("SELECT g.name, c.id FROM chunks c JOIN generations g ON g.id = c.generation_id")
                )
                chunks = {(row.name, str(row.id)) for row in rows}
            for answer in answers:
                assert all((answer["generation"], hit["chunk_id"]) in chunks for hit in answer["hits"])


async def test_a_thousand_changes_during_a_rebuild(settings: Settings, tmp_path: Path) -> None:
    """Adds, changes and removals at random, in ten APPENDs, most of them while it builds: nothing is lost."""
    random = Random(11)  # noqa: S311 — the same changes every time
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    texts = {f"{number}.md": _text(random) for number in range(250)}
    for name, written in texts.items():
        (corpus / name).write_text(written)
    with FakeModelServer(model="slow").running() as server:
        async with serving(settings, server) as api:
            await api.wait(await api.create("notes", corpus))
            server.seconds_per_text = 0.01
            operation = await reindex(api, "notes", model="slow", **SMALL, **REPORT_ONLY)
            await wait_until(lambda: _has_held(api.parts, 5))
            beside = 0
            for _ in range(10):
                for _ in range(100):
                    _change(random, corpus, texts)
                assert (await api.wait(await api.append("notes")))["state"] == "completed"
                beside += (await api.get(operation))["state"] == "running"
            server.seconds_per_text = 0.0
            ended = await api.wait(operation, seconds=120)

            assert ended["state"] == "completed", ended
            assert beside > 2
            await api.wait(await api.append("notes"))
            await assert_as_fresh(api, "notes", corpus, model="slow", **SMALL)
            ids = await _read_ids(api)
            assert ids == {document_id(UUID(ended["collection_id"]), (corpus / name).as_uri()) for name in texts}


def _text(random: Random) -> str:
    words = [random.choice(["whale", "song", "ocean", "deep", "rocket", "bread"]) for _ in range(120)]
    return f"# {random.random()}\n\n{' '.join(words)}\n"


def _change(random: Random, corpus: Path, texts: dict[str, str]) -> None:
    """One file is added, changed or removed."""
    what, name = random.choice(["add", "change", "remove"]), random.choice(sorted(texts))
    if what == "remove" and len(texts) > 200:
        (corpus / name).unlink()
        del texts[name]
        return
    if what == "add":
        name = f"added-{random.random()}.md"
    texts[name] = _text(random)
    (corpus / name).write_text(texts[name])


async def _read_ids(api: Api) -> set[UUID]:
    async with api.parts.database.begin() as connection:
        rows = await connection.execute(
            text(
                """SELECT DISTINCT c.document_id FROM chunks c JOIN collections o
                   ON o.id = c.collection_id AND o.active_generation_id = c.generation_id WHERE o.name = 'notes'"""
            )
        )
        return {row.document_id for row in rows}


# --- several workers ----------------------------------------------------------------------------


async def test_a_rebuild_is_shared_with_other_workers(settings: Settings, corpus: Path, tmp_path: Path) -> None:
    """A second worker takes documents in hand; one that is killed gives its back, and nothing is done twice."""
    with FakeModelServer(model="slow").running() as server:
        others = (EmbeddingServer(model="slow", url=server.url),)
        shared = settings.model_copy(update={"embedding_others": others, "embedding_cache_bytes": 0})
        process = WorkerProcess(shared, tmp_path / "second.log")
        try:
            async with serving(settings, server, embedding_cache_bytes=0) as api:
                write_corpus(corpus / "more", 80, seed=13)
                await api.wait(await api.create("notes", corpus))
                process.start()
                await wait_until(lambda: _count_workers(api, 2))
                server.seconds_per_text = 0.003
                operation = await reindex(api, "notes", model="slow", **REPORT_ONLY)
                await wait_until(lambda: _has_lane(api.parts))
                process.end(signal.SIGKILL)
                process.start()
                ended = await api.wait(operation, seconds=120)

                assert ended["state"] == "completed", ended
                assert ended["result"]["documents"] == DOCUMENTS + 80
                await assert_as_fresh(api, "notes", corpus, model="slow")
        finally:
            process.close()


async def _count_workers(api: Api, number: int) -> bool:
    workers = (await api.client.get("/api/v1/workers")).json()["workers"]
    return sum(bool(worker["alive"]) for worker in workers) >= number


async def _has_lane(parts: Parts) -> bool:
    query = "SELECT EXISTS (SELECT 1 FROM generation_documents WHERE lane IS NOT NULL)"
    async with parts.database.begin() as connection:
        return bool(await connection.scalar(text(query)))


# --- what searches say --------------------------------------------------------------------------


async def test_a_switch_that_searches_suffer_from_is_taken_back(api: Api, corpus: Path, worker: None) -> None:
    """By the periodic job, once, with what it has seen as the reason; a switch that nobody watches stays."""
    await api.wait(await api.create("notes", corpus))
    rebuilt = await api.wait(await reindex(api, "notes", watch_minutes=60))
    assert rebuilt["state"] == "completed", rebuilt
    names = (rebuilt["result"]["from"], rebuilt["result"]["to"])
    async with api.parts.database.begin() as connection:
        await connection.execute(
            text("UPDATE generations SET activated_at = now() - interval '10 minutes' WHERE state = 'active'")
        )
        ids = {row.name: row.id for row in await connection.execute(text("SELECT id, name FROM generations"))}
        searches = SearchHealthRepository(connection)
        await searches.add(
            {ids[names[0]]: Tally(searches=1000, empty=20), ids[names[1]]: Tally(searches=200, empty=90)}
        )
        await connection.execute(
            text("UPDATE search_health SET minute = minute - interval '20 minutes' WHERE generation_id = :id"),
            {"id": ids[names[0]]},
        )
        await connection.execute(text("UPDATE search_health SET empty = 20 WHERE searches = 1000"))
        await connection.execute(text("UPDATE search_health SET empty = 90 WHERE searches = 200"))
    jobs = open_periodic_jobs(api.parts, worker="test")
    try:
        rounds = [await jobs.run("watch_switches", dry_run=False, wait_seconds=30) for _ in range(2)]
    finally:
        await jobs.aclose()

    async def rolled_back() -> dict[str, Any] | None:
        listed = (await api.client.get("/api/v1/operations")).json()["operations"]
        found: list[dict[str, Any]] = [one for one in listed if one["kind"] == "ROLLBACK"]
        assert len(found) <= 1
        return found[0] if found and found[0]["state"] == "completed" else None

    back = await wait_until(rolled_back)
    assert (rounds[0].result or {})["rolled_back"] == 1, rounds[0]
    assert (rounds[1].result or {})["rolled_back"] == 0
    assert back["result"]["to"] == names[0]
    async with api.parts.database.begin() as connection:
        reason = await connection.scalar(text("SELECT config ->> 'reason' FROM operations WHERE kind = 'ROLLBACK'"))
    assert "empty answers" in reason


async def test_logged_searches_are_asked_of_both_sides(api: Api, corpus: Path, worker: None) -> None:
    """What people really ask is among the queries of the gate, if they want it to be remembered."""
    await api.wait(await api.create("notes", corpus))
    await api.client.put("/api/v1/collections/notes/search-log", json={})
    for query in ("what lives in the sea", "how rockets burn"):
        await api.search("notes", query)

    async def is_logged() -> bool:
        async with api.parts.database.begin() as connection:
            return (await connection.scalar(text("SELECT count(*) FROM search_log_entries")) or 0) == 2

    await wait_until(is_logged)
    without = await api.client.get("/api/v1/collections/notes/search-log")
    ended = await api.wait(await reindex(api, "notes"))

    assert without.is_success
    checks = {check["name"]: check for check in ended["result"]["validation"]["checks"]}
    asked = int(checks["search_overlap"]["detail"]["summary"].split(" queries")[0].rpartition(" ")[2])
    async with api.parts.database.begin() as connection:
        await connection.execute(text("DELETE FROM search_log_entries"))
    again = await api.wait(await reindex(api, "notes"))
    checks = {check["name"]: check for check in again["result"]["validation"]["checks"]}
    assert asked == int(checks["search_overlap"]["detail"]["summary"].split(" queries")[0].rpartition(" ")[2]) + 2


# --- the index alone ----------------------------------------------------------------------------


async def read_index(api: Api, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a collection's index as its generation has them, and as the store does."""
    async with api.parts.database.begin() as connection:
        row = (
            await connection.execute(
                text(
                    """SELECT g.name, g.index_settings, c.index_settings AS own FROM generations g
                       JOIN collections c ON c.active_generation_id = g.id WHERE c.name = :name"""
                ),
                {"name": name},
            )
        ).one()
    assert row.index_settings == row.own
    stored = await api.parts.store.find_collection(row.name)
    assert stored is not None
    # where the payload is, if nobody says it, is the store's own affair
    told = {name: value for name, value in stored.index.to_config().items() if name != "payload_on_disk"}
    return dict(row.index_settings), told


async def test_an_index_is_changed_in_place(api: Api, corpus: Path, worker: None) -> None:
    """Nothing is embedded and no generation made; what is not said stays, and null is the store's own again."""
    await api.wait(await api.create("notes", corpus))
    before = await count_generations(api.parts)

    planned = await api.wait(await reindex(api, "notes", index={"hnsw_m": 24}, dry_run=True))
    ended = await api.wait(await reindex(api, "notes", index={"hnsw_m": 24, "ef_search": 200}))
    quantised = await api.wait(await reindex(api, "notes", index={"quantization": "scalar"}))
    settings, stored = await read_index(api, "notes")
    hits = await api.search("notes", "the first whale")
    reset = await api.wait(
        await reindex(api, "notes", index={"hnsw_m": None, "ef_search": None, "quantization": "none"})
    )

    assert (planned["result"]["level"], planned["result"]["tokens"]) == ("index", 0)
    for one in (ended, quantised, reset):
        assert one["state"] == "completed", one
        assert (one["result"]["level"], one["result"]["tokens"]) == ("index", 0)
        assert one["result"]["from"] == one["result"]["to"]
        assert one["result"]["validation"]["passed"]
    assert settings == {"hnsw_m": 24, "ef_search": 200, "quantization": "scalar"}
    assert stored == {"hnsw_m": 24, "quantization": "scalar"}
    assert hits
    assert await read_index(api, "notes") == ({}, {})
    assert await count_generations(api.parts) == before
    await assert_verified(api, "notes")


async def test_a_rebuild_keeps_and_changes_settings_of_the_index(api: Api, corpus: Path, worker: None) -> None:
    """They belong to the generation: the way back has those of before."""
    await api.wait(await api.create("notes", corpus))
    await api.wait(await reindex(api, "notes", index={"hnsw_m": 24}))

    ended = await api.wait(await reindex(api, "notes", **SMALL, index={"vectors_on_disk": True}, **REPORT_ONLY))
    rebuilt = await read_index(api, "notes")
    back = await api.wait(await roll_back(api, "notes"))

    assert (ended["state"], back["state"]) == ("completed", "completed"), (ended, back)
    assert ended["result"]["level"] == "text"
    assert rebuilt == ({"hnsw_m": 24, "vectors_on_disk": True},) * 2
    assert (await read_index(api, "notes"))[0] == {"hnsw_m": 24}


async def test_an_index_that_is_refused_is_as_it_was(settings: Settings, corpus: Path) -> None:
    """The gate looks at the changed index; what it refuses is taken back, in the store too."""
    with FakeModelServer(model="slow").running() as server:
        async with serving(settings, server) as api:
            await api.wait(await api.create("notes", corpus, model="slow"))
            # its vectors are of another model from now on, so that nothing that searches can be as it was
            server.salt = "another model"

            unknown = await api.client.post("/api/v1/collections/notes/reindex", json={"index": {"hnsw": 3}})
            ended = await api.wait(await reindex(api, "notes", index={"hnsw_m": 24}))

            assert (unknown.status_code, unknown.json()["code"]) == (422, "invalid_index_settings")
            assert (ended["state"], ended["error_code"]) == ("failed", "validation_failed"), ended
            assert "uniformity" in ended["error_message"]
            assert await read_index(api, "notes") == ({}, {})
