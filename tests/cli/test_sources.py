"""``vecloom sources`` and ``vecloom index URL`` as a person and a script use them."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.harness import run_cli
from tests.sources.site import Site

pytestmark = pytest.mark.timeout(240)
ALLOWED = {"VECLOOM_SOURCES_ALLOW_PRIVATE": "true"}


@pytest.fixture
def site() -> Iterator[Site]:
    """A site of two pages, one of which is forbidden."""
    with Site().running() as running:
        running.link("/", "/forbidden", title="Whales", text="Whales are large mammals that live in the ocean.")
        running.put("/forbidden", b"", status=403)
        yield running


async def test_sources_from_nothing(site: Site, tmp_path: Path) -> None:
    """Index a URL with a login, list, test, change and add; secrets come from a file and are never printed."""
    data = tmp_path / "data"
    (tmp_path / "token").write_text("t0k3n\n")
    url = site.url.replace("://", "://reader:h0rse@")

    indexed = await run_cli("index", url, "-c", "site", "--json", data=data, **ALLOWED)
    listed = await run_cli("sources", "list", "site", "--json", data=data)
    tested = await run_cli("sources", "test", "site", site.url, data=data, **ALLOWED)
    secret = f"token=@{tmp_path / 'token'}"
    changed = await run_cli(
        "sources", "change", "site", site.url, "--secret", secret, "--option", "depth=1", "--json", data=data
    )
    site.forget_requests()
    again = await run_cli("index", site.url, "-c", "site", "--json", data=data, **ALLOWED)
    refused = await run_cli("sources", "add", "site", "https://h/", "--option", "depth=deep", "--json", data=data)

    assert indexed[0] == 3, indexed[2]
    assert orjson.loads(indexed[1])["result"]["documents_added"] == 1
    source = orjson.loads(listed[1])["sources"][0]
    assert (source["url"], source["kind"], source["has_secrets"]) == (site.url, "web", True)
    assert tested[0] == 3
    assert "2 documents" in tested[1]
    assert "unreadable_file forbidden" in tested[1]
    assert orjson.loads(changed[1])["options"] == {"depth": 1}
    assert orjson.loads(again[1])["state"] == "completed", again[2]
    assert {request.headers.get("authorization") for request in site.requests} == {"Bearer t0k3n"}
    assert (refused[0], orjson.loads(refused[1])["error"]["code"]) == (1, "invalid_source")
    said = "".join(part for answer in (indexed, listed, tested, changed, again) for part in answer[1:])
    assert not any(word in said for word in ("h0rse", "reader", "t0k3n"))
    assert (data / "secrets.key").stat().st_mode & 0o077 == 0


async def test_a_key_is_made_without_a_server(tmp_path: Path) -> None:
    """Another one each time; as JSON too. A wrong pair is not repeated, for it may be a secret."""
    code, key, _ = await run_cli("sources", "new-key", data=tmp_path)
    _, other, _ = await run_cli("sources", "new-key", "--json", data=tmp_path)
    wrong, said, err = await run_cli("sources", "add", "x", "https://h/", "--secret", "s3cret", "--json", data=tmp_path)

    assert (code, len(key.strip()), len(orjson.loads(other)["key"])) == (0, 44, 44)
    assert key.strip() != orjson.loads(other)["key"]
    assert (wrong, orjson.loads(said)["error"]["code"]) == (1, "invalid_usage")
    assert "s3cret" not in said + err
