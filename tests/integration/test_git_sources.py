"""Git repositories, indexed and brought up to date."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.bootstrap import Parts, configured_endpoints, open_parts
from app.settings import Settings
from tests.harness import Api
from tests.integration.test_sources import create
from tests.sources.git_host import GitHost, Repository

DOCUMENTS = {
    "whales.md": b"# Whales\n\nWhales are large mammals that live in the ocean.\n",
    "rockets.md": b"# Rockets\n\nRockets burn fuel to leave the atmosphere.\n",
    "logo.png": b"\x89PNG",
}


@pytest.fixture
async def parts(settings: Settings) -> AsyncIterator[Parts]:
    """Parts of a server that may read hosts of this machine."""
    allowed = settings.model_copy(update={"sources_allow_private": True})
    async with open_parts(allowed, configured_endpoints(allowed)) as opened:
        yield opened


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    """A server without repositories."""
    with GitHost(tmp_path / "served").running() as running:
        yield running


@pytest.fixture
def repository(host: GitHost) -> Repository:
    """A repository of two documents."""
    made = host.make()
    made.write_all(DOCUMENTS)
    return made


@pytest.mark.usefixtures("worker")
async def test_after_a_commit_only_what_it_changed_is_embedded(api: Api, host: GitHost, repository: Repository) -> None:
    """The rest is neither fetched nor read; what was taken away is not found any more."""
    url = host.url_of(repository)
    ended = await create(api, "code", url, options={"branch": "main"})
    hits = await api.search("code", "mammals of the ocean")
    del repository.files["whales.md"]
    blob = repository.store(b"# Rockets\n\nBake the dough for an hour.\n")
    repository.files["rockets.md"] = ("100644", blob)
    commit = repository.commit()
    host.asked.clear()

    again = await api.wait(await api.append("code"))

    assert (ended["state"], ended["result"]["documents_added"]) == ("completed", 2)
    assert hits[0]["uri"] == f"{url}/whales.md"
    counts = {name: again["result"][f"documents_{name}"] for name in ("added", "changed", "removed", "failed")}
    assert counts == {"added": 0, "changed": 1, "removed": 1, "failed": 0}
    assert again["result"]["stages"]["read"]["items"] == 1
    assert host.wants() == [commit, blob]
    assert (await api.search("code", "dough"))[0]["uri"] == f"{url}/rockets.md"
    await api.assert_consistent("code")


@pytest.mark.usefixtures("worker")
async def test_a_run_without_a_commit_fetches_nothing(api: Api, host: GitHost, repository: Repository) -> None:
    """It asks once where the branch is, and nothing is read."""
    await create(api, "code", host.url_of(repository))
    host.asked.clear()

    again = await api.wait(await api.append("code"))

    assert (again["result"]["unchanged"], again["result"]["tokens"]) == (2, 0)
    assert host.wants() == []


async def test_an_option_in_place_of_a_url_or_a_branch_is_refused(api: Api, host: GitHost) -> None:
    """At the door: nothing is created, and git is not run."""
    sources = [
        {"url": "git+ssh://-oProxyCommand=touch%20x/a.git"},
        {"url": "git+https://host/a.git --upload-pack=x"},
        {"url": "git+ext://sh%20-c%20id/a.git"},
        {"url": "git+https://host/a.git", "options": {"branch": "--upload-pack=touch x"}},
        {"url": "git+https://host/a.git", "options": {"upload-pack": "touch x"}},
    ]
    for source in sources:
        body = {"name": "code", "sources": [source]}
        response = await api.client.post("/api/v1/collections", json=body)

        assert response.status_code == 422, response.text
        assert response.json()["code"] in {"unsupported_source", "invalid_source"}
    assert host.asked == []
