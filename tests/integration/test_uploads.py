"""Files that are sent to a collection: indexed, replaced, deleted."""

import hashlib
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.bootstrap.upkeep import list_periodic_jobs
from app.domain.periodic import PeriodicJob, Round
from app.sources.upload_folder import UploadFolder, storage_name
from tests.harness import Api

WHALES = b"# Whales\n\nWhales are large mammals that live in the ocean.\n"
ROCKETS = b"Rockets burn fuel and oxidiser to leave the atmosphere.\n"


async def create(api: Api, name: str = "sent") -> None:
    """An empty collection, ready to be searched."""
    response = await api.client.post("/api/v1/collections", json={"name": name})
    assert response.status_code == 202, response.text
    await api.wait(response.json()["operation"])


async def send(api: Api, files: dict[str, bytes], name: str = "sent", **query: str) -> dict[str, Any]:
    """Send files in one form; the answer."""
    parts = [("file", (path, content)) for path, content in files.items()]
    response = await api.client.post(f"/api/v1/collections/{name}/documents", files=parts, params=query)
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


def stored_files(api: Api) -> list[Path]:
    """All files in the folder of uploads."""
    folder = api.parts.settings.upload_folder
    assert folder is not None
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("worker")
async def test_sent_files_are_indexed_and_found(api: Api) -> None:
    """One form, two documents, one operation."""
    await create(api)

    answer = await send(api, {"guides/whales.md": WHALES, "rockets.txt": ROCKETS})
    ended = await api.wait(answer["operation"])
    hits = await api.search("sent", "mammals of the ocean")

    assert (ended["state"], ended["result"]["documents_added"]) == ("completed", 2)
    assert [upload["sha256"] for upload in answer["uploads"]] == [
        hashlib.sha256(content).hexdigest() for content in (WHALES, ROCKETS)
    ]
    assert (hits[0]["uri"], hits[0]["document_id"]) == (
        "upload:///guides/whales.md",
        answer["uploads"][0]["document_id"],
    )
    await api.assert_consistent("sent")


@pytest.mark.usefixtures("worker")
async def test_the_same_path_again_replaces(api: Api) -> None:
    """What was there is gone, from the search and from the disk; the same bytes again embed nothing."""
    await create(api)
    await api.wait((await send(api, {"a.md": WHALES}))["operation"])

    changed = await api.wait((await send(api, {"a.md": ROCKETS}))["operation"])
    same = await api.wait((await send(api, {"a.md": ROCKETS}))["operation"])
    hits = await api.search("sent", "whales")

    assert (changed["result"]["documents_changed"], same["result"]["unchanged"], same["result"]["tokens"]) == (1, 1, 0)
    assert same["result"]["stages"]["read"]["items"] == 0
    assert [hit["text"].strip() for hit in hits] == [ROCKETS.decode().strip()]
    assert [path.read_bytes() for path in stored_files(api)] == [ROCKETS]


@pytest.mark.usefixtures("worker")
async def test_a_deleted_upload_leaves_the_collection(api: Api) -> None:
    """Also most of many, one by one: nobody has to confirm what somebody has asked for."""
    await create(api)
    sent = await send(api, {f"{number}.txt": f"number {number}".encode() for number in range(24)})
    await api.wait(sent["operation"])

    for upload in sent["uploads"][1:]:
        gone = await api.client.delete(f"/api/v1/collections/sent/uploads/{upload['id']}")
        assert gone.status_code == 202, gone.text
    ended = await api.wait(gone.json())

    assert ended["state"] == "completed"
    documents = await api.documents("sent")
    assert {path for path, document in documents.items() if document["state"] != "removed"} == {"0.txt"}
    assert len(stored_files(api)) == 1
    await api.assert_consistent("sent")


@pytest.mark.usefixtures("worker")
async def test_archives_and_records_are_looked_into(api: Api) -> None:
    """What is inside has the path of the upload in front, and can be changed with it."""
    await create(api)
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner/whales.md", WHALES)
        archive.writestr(".hidden.txt", b"hidden")
    records = b'{"id": "r1", "text": "Rockets leave the atmosphere."}\n{"id": "r2", "text": "Bread is baked."}\n'

    sent = await send(api, {"box.zip": packed.getvalue(), "list.jsonl": records})
    ended = await api.wait(sent["operation"])
    hits = await api.search("sent", "mammals of the ocean")
    changed = await api.wait((await send(api, {"list.jsonl": records.splitlines()[0]}))["operation"])

    assert (ended["result"]["documents_added"], ended["result"]["documents_failed"]) == (3, 0)
    assert hits[0]["uri"] == "upload:///box.zip!/inner/whales.md"
    assert hits[0]["path"] == "box.zip/inner/whales.md"
    assert (changed["result"]["documents_removed"], changed["result"]["unchanged"]) == (1, 2)
    assert {path for path, item in (await api.documents("sent")).items() if item["state"] == "completed"} == {
        "box.zip/inner/whales.md",
        "list.jsonl#r1",
    }
    await api.assert_consistent("sent")


@pytest.mark.usefixtures("worker")
async def test_a_deleted_collection_leaves_no_file(api: Api) -> None:
    """Unfinished uploads go too, and rows before files."""
    await create(api)
    await api.wait((await send(api, {"a.md": WHALES, "b.md": ROCKETS}))["operation"])
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "9", "Upload-Metadata": "filename YQ=="}
    await api.client.post("/api/v1/collections/sent/uploads", headers=headers)
    before = len(stored_files(api))

    ended = await api.wait((await api.client.delete("/api/v1/collections/sent")).json())

    assert (before, ended["state"]) == (3, "completed")
    assert stored_files(api) == []


@pytest.mark.usefixtures("worker")
async def test_a_removed_source_leaves_no_file(api: Api) -> None:
    """The next upload makes a new one."""
    await create(api)
    sent = await send(api, {"a.md": WHALES})
    await api.wait(sent["operation"])

    source = sent["uploads"][0]["source_id"]
    ended = await api.wait((await api.client.delete(f"/api/v1/collections/sent/sources/{source}")).json())
    files = stored_files(api)
    again = await send(api, {"a.md": ROCKETS})
    await api.wait(again["operation"])

    assert (ended["state"], files) == ("completed", [])
    assert again["uploads"][0]["source_id"] != source
    await api.assert_consistent("sent")


@pytest.mark.usefixtures("worker")
async def test_a_folder_that_is_not_mounted_removes_nothing(api: Api) -> None:
    """Its files are not gone, they are away: the operation says so, and documents stay."""
    await create(api)
    await api.wait((await send(api, {"a.md": WHALES}))["operation"])
    folder = api.parts.settings.upload_folder
    assert folder is not None
    folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()

    ended = await api.wait(await api.append("sent"))

    assert (ended["state"], ended["error_code"]) == ("failed", "source_not_found")
    assert (await api.documents("sent"))["a.md"]["state"] == "completed"


# --- upkeep -------------------------------------------------------------------------------------


def cleaning(api: Api, **changes: Any) -> PeriodicJob:
    """The job that cleans up, with other settings."""
    object.__setattr__(api.parts, "settings", api.parts.settings.model_copy(update=changes))
    return next(job for job in list_periodic_jobs(api.parts) if job.name == "cleanup_uploads")


async def test_what_nobody_has_finished_is_given_up(api: Api) -> None:
    """Row and file; a dry run says how many, and leaves them."""
    await create_without_worker(api)
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "9", "Upload-Metadata": "filename YQ=="}
    for _ in range(2):
        await api.client.post("/api/v1/collections/sent/uploads", headers=headers)
    async with api.parts.database.begin() as connection:
        await connection.execute(
            text("UPDATE uploads SET expires_at = now() WHERE id = (SELECT id FROM uploads LIMIT 1)")
        )
    job = cleaning(api)

    dry = await job.work(Round(dry_run=True))
    left = len(stored_files(api))
    done = await job.work(Round())

    assert (dry["expired"], left, done["expired"]) == (1, 2, 1)
    assert len(stored_files(api)) == 1
    assert len((await api.client.get("/api/v1/collections/sent/uploads")).json()["uploads"]) == 1


async def test_a_file_that_no_row_knows_is_removed_in_the_end(api: Api) -> None:
    """Not at first sight, not if it is of another installation, and not if a row knows it."""
    await create_without_worker(api)
    known = (await send(api, {"a.md": WHALES}))["uploads"][0]
    root = api.parts.settings.upload_folder
    assert root is not None
    async with api.parts.database.begin() as connection:
        marker = await connection.scalar(text("SELECT marker FROM installations"))
    folder = UploadFolder(root, free_bytes=0)
    ours, others = storage_name(marker, uuid4(), "a.zip"), storage_name("00ff", uuid4(), "a")
    for name in (ours, others):
        folder.create(name).close()

    first = await cleaning(api).work(Round())
    dry = await cleaning(api, orphan_grace=0).work(Round(dry_run=True))
    kept = folder.path_of(ours).exists()
    second = await cleaning(api, orphan_grace=0).work(Round())

    assert (first["unknown"], first["waiting"], dry["unknown"], kept, second["unknown"]) == (0, 1, 1, True, 1)
    assert not folder.path_of(ours).exists()
    assert folder.path_of(others).exists()
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in stored_files(api) if path.stat().st_size] == [
        known["sha256"]
    ]


async def create_without_worker(api: Api) -> None:
    """An empty collection that nobody indexes."""
    assert (await api.client.post("/api/v1/collections", json={"name": "sent"})).status_code == 202
