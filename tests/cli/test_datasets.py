"""``vecloom datasets`` as a person and a script use it."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from app.api.serving import serving
from app.bootstrap import Parts, open_api
from app.cli.client import Client, CliError
from app.cli.datasets import MOST_LOOKED_AT, show_coverage, show_dataset, upload_dataset
from app.domain.benchmark_datasets import LARGEST_BYTES, DatasetTooLargeError, InvalidDatasetError
from app.operations.collections import IdentityService
from tests.harness import run_cli

pytestmark = pytest.mark.timeout(240)

DATASET: dict[str, Any] = {
    "name": "notes\x1b[31m",
    "format": "beir",
    "source": "queries.jsonl, qrels/test.tsv",
    "is_synthetic": True,
    "queries": 2,
    "judgments": 9,
    "notes": ["1 queries have no judgments and are left out"],
}
COVERAGE: dict[str, Any] = {
    "judged": 40,
    "mapped": {"uri": 10, "name": 5},
    "missed": {"unmapped": 22, "removed": 1, "ambiguous": 2},
    "merged": 1,
    "judged_share": 0.375,
    "relevant": 20,
    "relevant_mapped": 12,
    "relevant_share": 0.6,
    "unmapped": [{"doc": "a\x1b[31m", "reason": "removed"}],
    "ambiguous": [{"doc": "b", "step": "name", "count": 2, "candidates": [{"uri": "file:///x"}, {"uri": "file:///y"}]}],
    "queries": 9,
    "lost_queries": 2,
    "lost_query_ids": ["q1", "q7"],
}


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A dataset of the small folder of documents, with more than belongs to it."""
    root = tmp_path / "judged"
    (root / "qrels").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "hidden.tsv").write_text("x")
    (root / "queries.jsonl").write_text('{"_id": "1", "text": "large mammals"}\n{"_id": "2", "text": "baking"}\n')
    (root / "qrels" / "test.tsv").write_text("1\twhales.md\t1\n2\tbread.html\t2\n2\tgone.md\t1\n")
    (root / "qrels" / "dev.tsv").write_text("1\twhales.md\t1\n")
    (root / "metadata.json").write_text("{}")
    with (root / "corpus.jsonl").open("wb") as corpus:
        corpus.truncate(LARGEST_BYTES * 2)
    return root


def lines_of(show: Any, *arguments: Any) -> list[str]:
    """What a person sees."""
    console = Console(file=io.StringIO(), width=40)
    show(*arguments, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_person_sees_what_a_dataset_is() -> None:
    """Counts, notes, and that nobody has judged a synthetic one; no control character gets through."""
    queries = [{"query_id": "1", "text": "whales", "relevant": [{"doc": f"d{n}", "grade": n} for n in range(7)]}]
    lines = lines_of(show_dataset, {**DATASET, "first_queries": queries})

    assert "\x1b" not in lines[0]
    assert lines[0].endswith(
        "2 queries, 9 judgments  beir (queries.jsonl, qrels/test.tsv), synthetic: nobody has judged it"
    )
    assert lines[1:] == [
        "  note: 1 queries have no judgments and are left out",
        "  1  whales  [d0=0, d1=1, d2=2, d3=3, d4=4 and 2 more]",
    ]


def test_a_person_sees_what_is_missing() -> None:
    """Shares, ways, lost queries, and why single documents are not there."""
    lines = lines_of(show_coverage, COVERAGE, "notes")

    assert lines[0] == "notes has 15 of 40 judged documents (37.5%): 10 by uri, 5 by name"
    assert lines[1] == "and 12 of 20 relevant ones (60.0%)"
    assert lines[3] == "2 of 9 queries have no relevant one there: q1, q7"
    assert "\x1b" not in lines[4]
    assert lines[5] == "  ambiguous: b is one of 2 by name: file:///x, file:///y"
    assert lines[6] == "  and 23 more"


@pytest.fixture
async def server(parts: Parts, worker: None) -> AsyncIterator[dict[str, str]]:
    """A server with a worker: the environment of commands that talk to it."""
    async with open_api(parts) as application, serving(application, host="127.0.0.1", port=0) as url:
        key = await IdentityService(parts.database).issue_key("tester", name="test")
        yield {"VECLOOM_URL": url, "VECLOOM_API_KEY": key}


async def test_datasets_from_nothing(server: dict[str, str], folder: Path, judged: Path, tmp_path: Path) -> None:
    """Add, list, show, compare, write out, remove: a script gets one JSON object each time."""
    data = tmp_path / "data"

    async def datasets(*arguments: str) -> tuple[int, Any]:
        code, out, _ = await run_cli("datasets", *arguments, "--json", data=data, **server)
        lines = out.splitlines()
        assert len(lines) == 1, out
        return code, orjson.loads(lines[0])

    indexed, _, _ = await run_cli("index", str(folder), "-c", "notes", data=data, **server)
    none = await run_cli("datasets", data=data, **server)
    added = await datasets("add", str(judged))
    again = await datasets("add", str(judged))
    other = await datasets("add", str(judged), "--name", "judged", "--split", "dev")
    part = await datasets("add", str(judged), "--name", "part", "--limit-queries", "1")
    listed = await datasets("list")
    shown = await datasets("show", "judged", "--queries", "1")
    covered = await datasets("coverage", "judged", "-c", "notes")
    made = await datasets("make", "synthetic", "-c", "notes", "--documents", "2")
    unjudged = await datasets("make", "thumbs", "-c", "notes", "--judgments")
    written = await datasets("export", "judged", "--out", str(tmp_path / "judged.json"))
    twice = await datasets("export", "judged", "--out", str(tmp_path / "judged.json"))
    from_file = await datasets("add", str(tmp_path / "judged.json"))
    removed = await datasets("remove", "part")
    gone = await datasets("show", "part")

    assert (indexed, none[:2]) == (0, (0, "no datasets; add one with: vecloom datasets add FOLDER\n"))
    assert (added[0], added[1]["name"], added[1]["queries"], added[1]["judgments"]) == (0, "judged", 2, 3)
    assert again == from_file == added
    assert (other[0], other[1]["error"]["code"]) == (1, "benchmark_dataset_exists")
    assert (part[0], part[1]["queries"]) == (0, 1)
    assert [dataset["name"] for dataset in listed[1]["datasets"]] == ["judged", "part"]
    assert shown[1]["first_queries"] == [
        {"query_id": "1", "text": "large mammals", "relevant": [{"doc": "whales.md", "grade": 1}]}
    ]
    assert (covered[1]["mapped"], covered[1]["missed"]) == ({"name": 1, "path": 1}, {"unmapped": 1})
    assert (made[0], made[1]["is_synthetic"], made[1]["source"].endswith("(2 documents) of notes")) == (0, True, True)
    assert (unjudged[0], unjudged[1]["error"]["code"]) == (1, "no_judgments")
    assert (written[0], written[1]["bytes"]) == (0, (tmp_path / "judged.json").stat().st_size)
    assert (twice[0], twice[1]["error"]["code"]) == (1, "system_error")
    assert (removed[1]["name"], gone[0], gone[1]["error"]["code"]) == ("part", 1, "benchmark_dataset_not_found")


@pytest.fixture
async def nobody() -> Any:
    """A client of a server that is not there: what is refused before is never sent."""
    client = Client("http://127.0.0.1:9", "key")
    yield client
    await client.aclose()


async def test_what_is_no_dataset_is_not_sent(nobody: Client, judged: Path, tmp_path: Path) -> None:
    """No folder, nothing in it, a device, too many files, too many bytes."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    for number in range(MOST_LOOKED_AT + 1):
        (tmp_path / "full" / str(number)).touch()
    refused = []
    with pytest.raises(FileNotFoundError):
        await upload_dataset(nobody, tmp_path / "none", None, None)
    for place in (Path("/dev/zero"), tmp_path / "full"):
        with pytest.raises(CliError) as error:
            await upload_dataset(nobody, place, None, None)
        refused.append(error.value.code)
    with pytest.raises(InvalidDatasetError):
        await upload_dataset(nobody, tmp_path / "empty", None, None)
    with pytest.raises(InvalidDatasetError, match="train"):
        await upload_dataset(nobody, judged, None, "train")
    with (judged / "qrels" / "test.tsv").open("ab") as file:
        file.truncate(LARGEST_BYTES)
    with pytest.raises(DatasetTooLargeError):
        await upload_dataset(nobody, judged, None, None)
    with pytest.raises(CliError) as sent:
        await upload_dataset(nobody, judged, None, "dev")

    assert refused == ["invalid_usage"] * 2
    assert sent.value.code == "server_unreachable"
