"""A dry run says what the real operation will say, and changes nothing."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from app.bootstrap import Parts, configured_endpoints, open_parts, running_worker
from app.db.tables import metadata
from app.settings import Settings
from tests.harness import Api, WorkerProcess, open_client
from tests.model_server import FakeModelServer
from tests.pipeline.test_prepare import pdf

SAME = (
    "documents_added",
    "documents_changed",
    "documents_removed",
    "unchanged",
    "documents_failed",
    "needs_ocr",
    "skipped",
    "documents",
    "chunks",
    "tokens",
    "reused_chunks",
)
"""What a dry run and the real operation say under the same names."""
TABLES = ("collections", "generations", "sources", "documents", "chunks", "operation_totals")
SENTENCES = "Entry {n} tells of whale {n}. It swims {n} miles and sings for {n} hours under the ice of the north. "


async def plan(api: Api, name: str, url: str, **options: Any) -> dict[str, Any]:
    """Ask for a dry run; gives the operation."""
    body = {"collection": name, "source": {"url": url, **options.pop("source", {})}, **options}
    response = await api.client.post("/api/v1/plans", json=body)
    assert response.status_code == 202, response.text
    operation: dict[str, Any] = response.json()
    return operation


async def planned(api: Api, name: str, root: Path, **options: Any) -> dict[str, Any]:
    """The result of a dry run."""
    ended = await api.wait(await plan(api, name, root.as_uri(), **options))
    assert ended["state"] == "completed", ended
    result: dict[str, Any] = ended["result"]
    return result


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """What has to be equal."""
    return {name: result[name] for name in SAME}


async def count_rows(parts: Parts) -> dict[str, int]:
    """How many rows each table has that a dry run must leave alone."""
    async with parts.database.begin() as connection:
        return {
            table: await connection.scalar(select(func.count()).select_from(metadata.tables[table])) or 0
            for table in TABLES
        }


async def read_documents(parts: Parts) -> list[tuple[Any, ...]]:
    """All rows of ``documents``, whole."""
    async with parts.database.begin() as connection:
        return [tuple(row) for row in await connection.execute(text("SELECT * FROM documents ORDER BY id"))]


@pytest.fixture
def mixed(folder: Path) -> Path:
    """Formats, records, duplicates, broken files and a scan, more than one claim takes at once."""
    for number in range(260):
        (folder / f"{number:03}.txt").write_text(SENTENCES.format(n=number) * (1 + number % 40))
    (folder / "copies").mkdir()
    for number in (0, 7, 77, 259):
        shutil.copy(folder / f"{number:03}.txt", folder / "copies" / f"{number}.txt")
    records = [{"_id": str(number), "title": "T", "text": SENTENCES.format(n=number % 9)} for number in range(30)]
    (folder / "records.jsonl").write_text("\n".join(json.dumps(record) for record in records) + "\nno record\n")
    (folder / "scan.pdf").write_bytes(pdf(""))
    (folder / "text.pdf").write_bytes(pdf("Whales sing in the deep ocean"))
    (folder / "broken.pdf").write_bytes(b"this is no PDF at all")
    (folder / "empty.txt").write_text("")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 20)
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


@pytest.mark.usefixtures("worker")
async def test_a_new_collection(api: Api, parts: Parts, mixed: Path) -> None:
    """Every figure of the INDEX that follows is the dry run's, and the dry run leaves nothing behind."""
    names = await parts.store.list_collections()

    said = await planned(api, "notes", mixed)
    rows, names_after = await count_rows(parts), await parts.store.list_collections()
    done = (await api.wait(await api.create("notes", mixed)))["result"]

    assert (rows, names_after) == (dict.fromkeys(TABLES, 0), names)
    assert figures(said) == figures(done)
    assert (said["files"], said["needs_ocr"], said["skipped"]) == (3 + 260 + 4 + 6, 1, 1)
    assert said["failed_by_code"] == {
        "corrupt_document": 1,
        "empty_document": 1,
        "invalid_record": 1,
        "unsupported_format": 1,
    }
    assert said["reuse"]["same_run"] == said["reused_chunks"] > 20
    assert said["tokens"] > 50_000


@pytest.mark.usefixtures("worker")
async def test_a_changed_folder(api: Api, parts: Parts, mixed: Path) -> None:
    """New, changed, moved, touched, mended and gone documents; what the collection has is as it was until then."""
    await api.wait(await api.create("notes", mixed))
    for number in range(40):
        with (mixed / f"{number:03}.txt").open("a") as file:
            file.write(f"A last line for entry {number}.")
    for number in range(40, 60):
        os.utime(mixed / f"{number:03}.txt", ns=(1, 1))
    for number in range(60, 80):
        (mixed / f"{number:03}.txt").unlink()
    for number in range(80, 90):
        (mixed / f"{number:03}.txt").rename(mixed / f"moved-{number}.txt")
    shutil.copy(mixed / "100.txt", mixed / "copies" / "100.txt")
    (mixed / "broken.pdf").write_bytes(pdf("Rockets burn fuel and oxidiser"))
    (mixed / "new.md").write_text("# Glaciers\n\nA glacier is a slow river of ice.\n")
    (mixed / "102.txt").write_bytes(b"\x7fELF")
    before = await read_documents(parts)

    said = await planned(api, "notes", mixed)
    between = await read_documents(parts)
    done = (await api.wait(await api.append("notes")))["result"]

    assert between == before
    assert figures(said) == figures(done)
    assert (said["documents_removed"], said["documents_added"]) == (30, 12)
    assert said["reuse"]["in_place"] > 0
    assert said["reuse"]["copies"] >= 11
    again = await planned(api, "notes", mixed)
    assert figures(again) == figures((await api.wait(await api.append("notes")))["result"])
    assert (again["tokens"], again["estimate"]["seconds"][0] < 60) == (0, True)


@pytest.mark.usefixtures("worker")
async def test_a_second_source(api: Api, folder: Path) -> None:
    """A source that the collection does not have yet, with documents that another source brought in."""
    await api.wait(await api.create("notes", folder))
    (folder / "guides" / "more.txt").write_text("A glacier is a slow river of ice.")
    guides = folder / "guides"

    said = await planned(api, "notes", guides)
    await api.client.post("/api/v1/collections/notes/sources", json={"url": guides.as_uri()})
    sources = (await api.client.get("/api/v1/collections/notes/sources")).json()["sources"]
    config = {"source_id": next(source["id"] for source in sources if source["url"] == guides.as_uri())}
    append = await api.client.post("/api/v1/collections/notes/operations", json={"kind": "APPEND", "config": config})
    done = (await api.wait(append.json()))["result"]

    assert figures(said) == figures(done)
    assert (said["documents_added"], said["unchanged"]) == (1, 2)


@pytest.mark.usefixtures("worker")
async def test_the_globs_and_chunks_asked_for_count(api: Api, mixed: Path) -> None:
    """Options of a collection that does not exist are those of the dry run."""
    options: dict[str, Any] = {"chunk_size": 64, "source": {"include": ["0*.txt"], "exclude": ["00*.txt"]}}

    said = await planned(api, "notes", mixed, **options)
    done = (await api.wait(await api.create("notes", mixed, **options)))["result"]

    assert figures(said) == figures(done)
    assert (said["files"], said["chunk_size"], said["chunk_overlap"]) == (90, 64, 6)


@pytest.mark.usefixtures("worker")
async def test_most_of_a_source_gone(api: Api, mixed: Path) -> None:
    """What the mass deletion guard would stop is foretold under its code."""
    await api.wait(await api.create("notes", mixed))
    for number in range(260):
        (mixed / f"{number:03}.txt").unlink()

    said = await planned(api, "notes", mixed)
    done = await api.wait(await api.append("notes"))

    assert done["error_code"] == said["would_fail"]["code"] == "mass_deletion_guard"
    assert done["error_message"] == said["would_fail"]["detail"]


@pytest.mark.usefixtures("worker")
async def test_speed_is_what_was_measured(api: Api, mixed: Path) -> None:
    """A batch is embedded for the first estimate; later ones go by operations of the user, then the collection."""
    first = await planned(api, "notes", mixed)
    done = (await api.wait(await api.create("notes", mixed)))["result"]
    other = await planned(api, "others", mixed)
    (mixed / "new.md").write_text("# Glaciers\n\nA glacier is a slow river of ice.\n")
    own = await planned(api, "notes", mixed)

    measured = [said["estimate"]["measured_by"] for said in (first, other, own)]
    assert measured == ["calibration", "user", "collection"]
    assert done["tokens"] >= 5000
    for said in (first, other, own):
        low, high = said["estimate"]["seconds"]
        assert 0 <= low < high
        assert said["cost"] is None


def changed(settings: Settings, **changes: Any) -> Settings:
    """The same settings but for some."""
    return Settings(**{**{name: getattr(settings, name) for name in settings.model_fields_set}, **changes})


async def test_a_model_behind_http_has_a_cost_and_a_speed(
    settings: Settings, server: FakeModelServer, mixed: Path
) -> None:
    """One batch, as large as the server takes, is all that it is asked for; the price is that of its model alone."""
    server.batch_limit = 40
    priced = {"embedding_price_per_million_tokens": 2.5, "embedding_price_currency": "EUR"}
    settings = changed(settings, embedding_url=server.url, embedding_model=server.model, **priced)

    async with (
        open_parts(settings, configured_endpoints(settings)) as parts,
        open_client(parts) as api,
        running_worker(parts),
    ):
        said = await planned(api, "notes", mixed)
        free = await planned(api, "others", mixed, model="wordllama")
        texts = len(server.texts)
        server.fail_next(503, times=100)
        unknown = await planned(api, "notes", mixed)

    assert said["tokens"] > 0
    assert said["cost"] == {"amount": round(said["tokens"] * 2.5 / 1e6, 6), "currency": "EUR"}
    assert said["estimate"]["measured_by"] == "calibration"
    assert 1 < texts <= 1 + 40
    assert free["cost"] is None
    assert unknown["estimate"] == {"seconds": None, "measured_by": None, "error_code": "embedder_unavailable"}
    assert figures(unknown) == figures(said)


async def test_a_folder_that_another_collection_has(settings: Settings, server: FakeModelServer, mixed: Path) -> None:
    """Vectors kept from earlier are foretold, for a new collection too; texts that are new are not among them."""
    settings = changed(settings, embedding_url=server.url, embedding_model=server.model)

    async with (
        open_parts(settings, configured_endpoints(settings)) as parts,
        open_client(parts) as api,
        running_worker(parts),
    ):
        await api.wait(await api.create("notes", mixed))
        (mixed / "new.md").write_text("# Glaciers\n\nA glacier is a slow river of ice.\n")
        said = await planned(api, "others", mixed)
        done = (await api.wait(await api.create("others", mixed)))["result"]

    assert figures(said) == figures(done)
    assert said["reuse"]["cache"] == said["reused_chunks"] == said["chunks"] - 1
    assert 0 < said["tokens"] < 40


async def test_it_waits_for_no_writer(api: Api, parts: Parts, folder: Path, worker: None) -> None:
    """A writer that is paused in the middle of the collection's line holds up no dry run, nor does a dry run it."""
    await api.wait(await api.create("notes", folder))
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE operations SET state = 'running', lease_until = now() + interval '1h'"))

    ended = await api.wait(await plan(api, "notes", folder.as_uri()))

    assert (ended["kind"], ended["state"], ended["collection"]) == ("PLAN", "completed", "notes")


async def test_without_a_collection_it_is_an_operation_like_others(api: Api, parts: Parts, folder: Path) -> None:
    """It is listed and shown under the name it was planned for, can be paused, resumed and cancelled."""
    operation = await plan(api, "notes", folder.as_uri())
    path = f"/api/v1/operations/{operation['operation_id']}"

    paused = (await api.client.post(f"{path}/pause")).json()
    async with running_worker(parts):
        listed = (await api.client.get("/api/v1/operations")).json()["operations"]
        still = (await api.get(operation))["state"]
        await api.client.post(f"{path}/resume")
        ended = await api.wait(operation)
    other = await plan(api, "notes", folder.as_uri())
    cancelled = (await api.client.post(f"/api/v1/operations/{other['operation_id']}/cancel")).json()

    assert (operation["collection_id"], operation["collection"]) == (None, "notes")
    assert paused["why_waiting"].startswith("paused since")
    assert [one["operation_id"] for one in listed] == [operation["operation_id"]]
    assert (still, ended["state"], ended["result"]["documents_added"]) == ("pending", "completed", 3)
    assert cancelled["state"] == "cancelled"
    assert (await count_rows(parts))["collections"] == 0


async def test_a_running_one_can_be_cancelled_and_retried(api: Api, parts: Parts, tmp_path: Path, worker: None) -> None:
    """Cancelling takes effect in the middle; a retry begins anew and comes to the same figures."""
    root = tmp_path / "large"
    root.mkdir()
    for number in range(1500):
        (root / f"{number}.txt").write_text(SENTENCES.format(n=number) * 60)
    operation = await plan(api, "notes", root.as_uri())

    await api.wait(operation, states=["running"])
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    ended = await api.wait(operation)
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
    again = await api.wait(operation)

    assert ended["state"] == "cancelled"
    assert (again["state"], again["result"]["documents"]) == ("completed", 1500)
    assert await count_rows(parts) == dict.fromkeys(TABLES, 0)


async def test_what_a_collection_has_cannot_be_planned_otherwise(api: Api, worker: None, folder: Path) -> None:
    """Another model, other chunks or other globs than those that exist are a conflict, as for the real command."""
    await api.wait(await api.create("notes", folder))
    bodies: list[dict[str, Any]] = [
        {"model": "other"},
        {"chunk_size": 99},
        {"source": {"url": folder.as_uri(), "include": ["*.md"]}},
    ]

    answers = [
        await api.client.post("/api/v1/plans", json={"collection": "notes", "source": {"url": folder.as_uri()}, **body})
        for body in bodies
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(409, "option_conflict")] * 3


async def test_a_key_of_a_plan_makes_no_collection(api: Api, folder: Path) -> None:
    """The same key gives the same plan; for a collection it is another request, and refused."""
    headers = {"Idempotency-Key": "once"}
    body = {"collection": "notes", "source": {"url": folder.as_uri()}}

    plans = [(await api.client.post("/api/v1/plans", json=body, headers=headers)).json() for _ in range(2)]
    refused = await api.client.post("/api/v1/collections", json={"name": "notes"}, headers=headers)

    assert plans[0]["operation_id"] == plans[1]["operation_id"]
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_key_used")


async def test_one_whose_worker_is_killed_begins_anew(
    api: Api, parts: Parts, tmp_path: Path, worker_process: WorkerProcess
) -> None:
    """Another worker comes to the figures that an undisturbed dry run comes to."""
    root = tmp_path / "large"
    root.mkdir()
    for number in range(1500):
        (root / f"{number}.txt").write_text(SENTENCES.format(n=number % 1000) * 60)
    worker_process.start()
    operation = await plan(api, "notes", root.as_uri())

    await api.wait(operation, states=["running"])
    worker_process.end(signal.SIGKILL)
    async with running_worker(parts):
        ended = await api.wait(operation)
        undisturbed = await planned(api, "notes", root)

    assert (ended["attempt"], ended["interruptions"]) == (2, 1)
    assert figures(ended["result"]) == figures(undisturbed)
    assert undisturbed["reuse"]["same_run"] > 0
