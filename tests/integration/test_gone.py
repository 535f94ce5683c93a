"""What an APPEND does with documents that its source does not have any more."""

import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.harness import Api

pytestmark = pytest.mark.usefixtures("worker")


def write_comets(root: Path, count: int) -> None:
    """A folder of so many documents."""
    root.mkdir(exist_ok=True)
    for number in range(count):
        (root / f"{number}.txt").write_text(f"Entry {number} of the long list of comets.")


async def append(api: Api, name: str, **config: Any) -> dict[str, Any]:
    """Bring the first source up to date and wait."""
    source = (await api.client.get(f"/api/v1/collections/{name}/sources")).json()["sources"][0]
    body = {"kind": "APPEND", "config": {"source_id": source["id"], **config}}
    answer = await api.client.post(f"/api/v1/collections/{name}/operations", json=body)
    assert answer.status_code == 202, answer.text
    return await api.wait(answer.json())


async def change_source(api: Api, name: str, **change: Any) -> None:
    """Change the first source."""
    source = (await api.client.get(f"/api/v1/collections/{name}/sources")).json()["sources"][0]
    answer = await api.client.patch(f"/api/v1/collections/{name}/sources/{source['id']}", json=change)
    assert answer.json()["on_gone"] == change["on_gone"]


async def test_an_incremental_append_takes_in_and_removes_nothing(api: Api, folder: Path) -> None:
    """New and changed documents come in; gone ones stay searchable until a full APPEND removes them."""
    await api.wait(await api.create("notes", folder))
    (folder / "bread.html").unlink()
    (folder / "guides" / "whales.md").write_text("# Whales\n\nNarwhals have a long spiral tusk.\n")
    (folder / "tea.txt").write_text("Green tea is steeped at eighty degrees.")

    incremental = await append(api, "notes", mode="incremental")
    kept = await api.search("notes", "dough oven")
    full = await append(api, "notes")

    counts = ("documents_added", "documents_changed", "documents_removed", "documents_kept", "unchanged")
    assert [incremental["result"][name] for name in counts] == [1, 1, 0, 1, 1]
    assert kept[0]["path"] == "bread.html"
    assert [full["result"][name] for name in counts] == [0, 0, 1, 0, 3]
    assert set(await api.documents("notes")) == {"guides/rockets.txt", "guides/whales.md", "bread.html", "tea.txt"}
    assert (await api.documents("notes"))["bread.html"]["state"] == "removed"
    await api.assert_consistent("notes")


async def test_a_source_may_keep_what_is_gone(api: Api, folder: Path) -> None:
    """Nothing is removed and nothing noted; what comes back unchanged costs nothing."""
    await api.wait(await api.create("notes", folder, source={"on_gone": "keep"}))
    bread = (folder / "bread.html").read_text()
    (folder / "bread.html").unlink()

    ended = await append(api, "notes")
    document = (await api.documents("notes"))["bread.html"]
    (folder / "bread.html").write_text(bread)
    again = await append(api, "notes")

    assert (ended["state"], ended["result"]["documents_kept"], ended["result"]["documents"]) == ("completed", 1, 3)
    assert (document["state"], document["gone_since"]) == ("completed", None)
    assert (again["result"]["tokens"], again["result"]["documents_kept"]) == (0, 0)
    assert await api.assert_consistent("notes") == 3


async def test_a_source_may_mark_what_is_gone(api: Api, folder: Path) -> None:
    """The document says since when, stays searchable, and is like any other once it is back."""
    await api.wait(await api.create("notes", folder, source={"on_gone": "mark"}))
    bread = folder / "bread.html"
    content = bread.read_text()
    bread.unlink()

    await append(api, "notes")
    marked = (await api.documents("notes"))["bread.html"]
    await append(api, "notes")
    later = (await api.documents("notes"))["bread.html"]
    hits = await api.search("notes", "dough oven")
    bread.write_text(content)
    await append(api, "notes")
    back = (await api.documents("notes"))["bread.html"]

    assert marked["state"] == "completed"
    assert marked["gone_since"]
    assert later["gone_since"] == marked["gone_since"]
    assert hits[0]["path"] == "bread.html"
    assert back["gone_since"] is None
    assert (await api.documents("notes"))["guides/whales.md"]["gone_since"] is None


async def test_a_source_that_removes_again_removes_what_it_had_kept(api: Api, folder: Path) -> None:
    """The policy of the moment counts."""
    await api.wait(await api.create("notes", folder, source={"on_gone": "mark"}))
    (folder / "bread.html").unlink()
    await append(api, "notes")

    await change_source(api, "notes", on_gone="remove")
    ended = await append(api, "notes")

    assert ended["result"]["documents_removed"] == 1
    assert await api.assert_consistent("notes") == 2


async def test_what_was_about_to_be_read_and_is_gone_is_kept_as_it_was(api: Api, folder: Path) -> None:
    """A document that was found changed, and was gone before it was read, is not pending for ever.

    One that was never read at all is forgotten; one that comes back with its old size and time is read again.
    """
    await api.wait(await api.create("notes", folder, source={"on_gone": "keep"}))
    bread = folder / "bread.html"
    content, status = bread.read_text(), bread.stat()
    bread.unlink()
    async with api.parts.database.begin() as connection:
        await connection.execute(text("UPDATE documents SET state = 'pending' WHERE path = 'bread.html'"))
        await connection.execute(
            text(
                """INSERT INTO documents (id, collection_id, source_id, uri, path, size, modified_ns, position, state)
                   SELECT gen_random_uuid(), collection_id, source_id, 'file:///x', 'x', 1, 1, 9, 'pending'
                   FROM documents LIMIT 1"""
            )
        )

    ended = await append(api, "notes")
    settled = await api.documents("notes")
    bread.write_text(content)
    os.utime(bread, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = await append(api, "notes")

    assert (ended["result"]["documents_kept"], ended["result"]["documents_removed"]) == (1, 0)
    assert (settled["bread.html"]["state"], settled["x"]["state"]) == ("completed", "removed")
    assert (again["result"]["stages"]["read"]["items"], again["result"]["tokens"]) == (1, 0)


async def test_removals_can_be_confirmed(api: Api, tmp_path: Path) -> None:
    """The guard says how; whoever says so once has not said so for ever."""
    root = tmp_path / "many"
    write_comets(root, 30)
    await api.wait(await api.create("the many", root))
    for number in range(25):
        (root / f"{number}.txt").unlink()

    refused = await append(api, "the many")
    confirmed = await append(api, "the many", confirm_removals=True)
    left = await api.assert_consistent("the many")
    write_comets(root, 30)
    await append(api, "the many")
    for number in range(25):
        (root / f"{number}.txt").unlink()
    refused_again = await append(api, "the many")

    assert refused["error_code"] == refused_again["error_code"] == "mass_deletion_guard"
    assert "vecloom sync 'the many' --confirm-removals" in refused["error_message"]
    assert "confirm_removals: true" in refused["error_message"]
    assert (confirmed["state"], confirmed["result"]["documents_removed"], left) == ("completed", 25, 5)


@pytest.mark.parametrize("on_gone", ["keep", "mark"])
async def test_who_removes_nothing_needs_no_guard(api: Api, tmp_path: Path, on_gone: str) -> None:
    """An emptied folder whose documents are kept or marked completes."""
    root = tmp_path / "many"
    write_comets(root, 30)
    await api.wait(await api.create("many", root, source={"on_gone": on_gone}))
    for number in range(25):
        (root / f"{number}.txt").unlink()

    ended = await append(api, "many")

    assert (ended["state"], ended["result"]["documents_kept"]) == ("completed", 25)
    assert await api.assert_consistent("many") == 30


async def test_a_dry_run_knows_what_is_kept(api: Api, folder: Path) -> None:
    """It promises no removal that will not happen."""
    await api.wait(await api.create("notes", folder, source={"on_gone": "keep"}))
    (folder / "bread.html").unlink()

    body = {"collection": "notes", "source": {"url": folder.as_uri()}}
    planned = await api.wait((await api.client.post("/api/v1/plans", json=body)).json())
    other = await api.client.post(
        "/api/v1/plans", json={"collection": "notes", "source": {"url": folder.as_uri(), "on_gone": "remove"}}
    )

    assert (planned["result"]["documents_removed"], planned["result"]["documents"]) == (0, 3)
    assert other.json()["code"] == "option_conflict"
