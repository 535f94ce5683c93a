"""Benchmarks as operations: what they find, what is kept of it, how they are stopped and gone on with."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import ir_measures
import pytest
from ir_measures import AP, RR, P, R, nDCG
from sqlalchemy import text

from app.bootstrap import Parts, configured_endpoints, open_parts, running_worker
from app.bootstrap.upkeep import open_periodic_jobs
from app.db.benchmark_datasets import DatasetRepository
from app.domain.benchmark_datasets import DatasetContent, DatasetFormat, DatasetQuery, JudgedDocument
from app.settings import EmbeddingServer, Settings
from benchmarks.corpus import write_corpus
from tests.harness import Api, open_client, wait_until
from tests.integration.test_reindex import reindex
from tests.model_server import FakeModelServer

DOCUMENTS = 40
QUERIES = 30


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Some documents of several chunks."""
    root = tmp_path / "corpus"
    write_corpus(root, DOCUMENTS, seed=5)
    return root


def make_content(root: Path, *, queries: int = QUERIES, salt: str = "") -> DatasetContent:
    """Queries that are words of a document, which answers them; each has a judged one that does not, and a lost one."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    made = []
    for number in range(queries):
        path, other = files[number % len(files)], files[(number + 7) % len(files)]
        words = [word for word in path.read_text(errors="ignore").split() if word.isalpha()]
        start = 20 + 11 * (number // len(files))
        judged = (
            JudgedDocument(doc=path.name, grade=2),
            JudgedDocument(doc=other.name, grade=number % 2),
            JudgedDocument(doc=f"lost-{number}", grade=1 if number % 5 == 0 else 0),
        )
        query = " ".join(words[start : start + 8]) or path.stem
        made.append(DatasetQuery(query_id=f"q{number}", text=f"{salt}{query}", relevant=judged))
    return DatasetContent(format=DatasetFormat.JSON, queries=tuple(made))


async def add_dataset(api: Api, name: str, content: DatasetContent) -> str:
    """Keep a dataset; gives its id."""
    async with api.parts.database.begin() as connection:
        dataset, _ = await DatasetRepository(connection).add(
            api.user_id, name, content, fingerprint=content.fingerprint()
        )
    return str(dataset.id)


async def measure(api: Api, name: str, **body: Any) -> dict[str, Any]:
    """Begin a benchmark; gives the operation."""
    answer = await api.client.post(f"/api/v1/collections/{name}/benchmarks", json=body)
    assert answer.status_code == 202, answer.text
    operation: dict[str, Any] = answer.json()
    return operation


async def read(api: Api, path: str, **query: Any) -> str:
    """The text of an answer."""
    answer = await api.client.get(f"/api/v1{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.text


async def count_results(api: Api) -> int:
    """How many queries have been kept."""
    async with api.parts.database.begin() as connection:
        return int(await connection.scalar(text("SELECT count(*) FROM benchmark_results")) or 0)


@pytest.fixture
async def papers(api: Api, worker: None, corpus: Path) -> Path:
    """An indexed collection."""
    ended = await api.wait(await api.create("papers", corpus))
    assert ended["state"] == "completed", ended
    return corpus


async def test_figures_are_those_of_ir_measures(api: Api, papers: Path) -> None:
    """Of the exported run and judgments, to 1e-9; lost documents count as not found."""
    await add_dataset(api, "words", make_content(papers))

    ended = await api.wait(await measure(api, "papers", dataset="words"))

    result = ended["result"]
    assert ended["state"] == "completed", ended
    assert [run["mode"] for run in result["runs"]] == ["dense", "bm25", "hybrid"]
    assert result["queries"] == QUERIES
    assert result["coverage"]["missed_by"] == {"unmapped": QUERIES}
    assert result["best"] in {"dense", "bm25", "hybrid"}
    path = f"/benchmarks/{result['benchmark_id']}"
    qrels = list(ir_measures.read_trec_qrels(await read(api, f"{path}/qrels")))  # type: ignore[no-untyped-call]
    assert len(qrels) == 3 * QUERIES
    for number, run in enumerate(result["runs"], 1):
        trec = await read(api, f"{path}/runs/{number}/trec")
        found = list(ir_measures.read_trec_run(trec))  # type: ignore[no-untyped-call]
        assert len({one.query_id for one in found}) == QUERIES
        expected = ir_measures.calc_aggregate([nDCG @ 10, R @ 100, AP, RR, P @ 10], qrels, found)
        names = {"ndcg@10": nDCG @ 10, "recall@100": R @ 100, "map": AP, "mrr": RR, "precision@10": P @ 10}
        for name, measure_ in names.items():
            assert run["metrics"][name] == pytest.approx(expected[measure_], abs=1e-9), (run["name"], name)
            low, high = run["ci95"][name]
            assert low <= run["metrics"][name] <= high
        assert 0 < run["latency_ms"]["p50"] <= run["latency_ms"]["p95"] <= run["latency_ms"]["p99"]
    assert max(run["metrics"]["ndcg@10"] for run in result["runs"]) > 0.5


async def test_a_matrix_has_a_run_for_each_combination(api: Api, papers: Path) -> None:
    """Settings that change nothing of a mode make no runs of their own."""
    await add_dataset(api, "words", make_content(papers, queries=5))
    matrix = {"mode": ["bm25", "hybrid"], "fusion_k": [10, 60], "dense_weight": [1, 3]}

    ended = await api.wait(await measure(api, "papers", dataset="words", matrix=matrix, top_k=5))

    names = [run["name"] for run in ended["result"]["runs"]]
    assert names == [
        "bm25",
        "hybrid fusion_k=10",
        "hybrid fusion_k=10 dense_weight=3.0",
        "hybrid",
        "hybrid dense_weight=3.0",
    ]
    assert ended["result"]["runs"][1]["settings"] == {"mode": "hybrid", "fusion_k": 10}


REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"dataset": "none"}, "benchmark_dataset_not_found"),
    ({}, "invalid_benchmark"),
    ({"dataset": "words", "synthetic": 5}, "invalid_benchmark"),
    ({"dataset": "words", "matrix": {"mode": []}}, "invalid_benchmark"),
    ({"dataset": "words", "matrix": {}}, "invalid_benchmark"),
    ({"dataset": "words", "matrix": {"fusion_k": list(range(1, 100))}}, "invalid_benchmark"),
    ({"dataset": "words", "runs": [{"mode": "dense", "fusion": "dbsf"}]}, "invalid_search_settings"),
    ({"dataset": "words", "measures": ["beauty@10"]}, "invalid_measure"),
    ({"dataset": "words", "fail_if": ["ndcg@10 is bad"]}, "invalid_condition"),
    ({"dataset": "words", "fail_if": ["ndcg@10 < baseline"]}, "invalid_benchmark"),
    ({"dataset": "words", "baseline": "5a6f3c1e-8a52-4d0e-9a77-0f6f0f4f2b10"}, "benchmark_not_found"),
    ({"dataset": "words", "generations": ["other"]}, "generation_unknown"),
    ({"dataset": "words", "top_k": 0}, "invalid_request"),
)


async def test_what_cannot_be_measured_is_refused_before_it_is_queued(api: Api, worker: None, folder: Path) -> None:
    """With a stable code, and no operation."""
    await api.wait(await api.create("papers", folder))
    await add_dataset(api, "words", make_content(folder, queries=3))
    before = (await api.client.get("/api/v1/operations")).json()["operations"]

    answers = [await api.client.post("/api/v1/collections/papers/benchmarks", json=body) for body, _ in REFUSED]

    assert [answer.json()["code"] for answer in answers] == [code for _, code in REFUSED]
    assert {answer.status_code for answer in answers} <= {404, 409, 422}
    assert (await api.client.get("/api/v1/operations")).json()["operations"] == before
    assert (await api.client.get("/api/v1/collections/papers/benchmarks")).json() == {"benchmarks": []}


async def test_a_collection_without_anything_of_a_dataset_is_not_measured(api: Api, papers: Path) -> None:
    """The operation fails, and says why."""
    judged = (JudgedDocument(doc="nowhere.txt", grade=1),)
    content = DatasetContent(
        format=DatasetFormat.JSON, queries=(DatasetQuery(query_id="1", text="whales", relevant=judged),)
    )
    await add_dataset(api, "foreign", content)

    ended = await api.wait(await measure(api, "papers", dataset="foreign"))

    assert (ended["state"], ended["error_code"]) == ("failed", "benchmark_without_judgments")
    (listed,) = (await api.client.get("/api/v1/collections/papers/benchmarks")).json()["benchmarks"]
    assert (listed["state"], listed["error_code"]) == ("failed", "benchmark_without_judgments")


async def test_a_worse_setting_is_significantly_worse_and_fails_its_condition(api: Api, papers: Path) -> None:
    """Against the same dataset before; the same setting is not told from itself and passes."""
    await add_dataset(api, "words", make_content(papers, queries=60))
    first = await api.wait(await measure(api, "papers", dataset="words", runs=[{"mode": "bm25"}]))
    baseline = first["result"]["benchmark_id"]
    condition = ["ndcg@10 < baseline - 0.05"]
    # one hit is all that is found, so what is found later is lost
    worse = [{"mode": "bm25", "score_threshold": 1e6}]

    same = await api.wait(
        await measure(api, "papers", dataset="words", runs=[{"mode": "bm25"}], baseline=baseline, fail_if=condition)
    )
    bad = await api.wait(
        await measure(api, "papers", dataset="words", runs=worse, baseline=baseline, fail_if=condition)
    )
    both = await api.wait(await measure(api, "papers", dataset="words", runs=[{"mode": "bm25"}, *worse]))

    assert [one["outcome"] for one in same["result"]["verdicts"]] == ["passed"]
    assert [one["outcome"] for one in bad["result"]["verdicts"]] == ["failed"]
    report = (await api.client.get(f"/api/v1/benchmarks/{both['result']['benchmark_id']}/report")).json()
    assert both["result"]["best"] == "bm25"
    assert any(one["significant"] for one in report["comparisons"]), report["comparisons"]


async def test_queries_made_of_documents_are_marked_as_such(api: Api, papers: Path) -> None:
    """They are kept as a dataset, which the same documents give again."""
    first = await api.wait(await measure(api, "papers", synthetic=10, runs=[{"mode": "hybrid"}]))
    second = await api.wait(await measure(api, "papers", synthetic=10, runs=[{"mode": "hybrid"}]))

    assert first["state"] == "completed", first
    assert first["result"]["is_synthetic"] is True
    assert first["result"]["dataset"] == second["result"]["dataset"]
    assert first["result"]["runs"][0]["metrics"] == second["result"]["runs"][0]["metrics"]
    assert first["result"]["queries"] >= 10
    assert "made of" in await read(api, f"/benchmarks/{first['result']['benchmark_id']}/report", format="markdown")
    assert first["result"]["coverage"]["share"] == 1


async def test_reports_are_written_in_three_ways_and_are_forgotten_with_their_benchmark(api: Api, papers: Path) -> None:
    """JSON, Markdown, and HTML that needs nothing from elsewhere; texts of queries are shown, not run."""
    await add_dataset(api, "words", make_content(papers, queries=6, salt="<script>alert(1)</script> "))
    ended = await api.wait(await measure(api, "papers", dataset="words"))
    path = f"/benchmarks/{ended['result']['benchmark_id']}"

    page = await api.client.get(f"/api/v1{path}/report", params={"format": "html"})
    html = page.text
    markdown = await read(api, f"{path}/report", format="markdown")
    whole = (await api.client.get(f"/api/v1{path}/report")).json()
    early = (await api.client.get(f"/api/v1{path}/runs/nobody/trec")).json()
    gone = await api.client.delete(f"/api/v1{path}")
    after = await api.client.get(f"/api/v1{path}")

    assert page.headers["content-security-policy"].startswith("sandbox ")
    assert "allow-same-origin" not in page.headers["content-security-policy"]
    assert "<script>alert" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "hybrid" in markdown
    assert [run["metrics"] for run in whole["runs"]] == [run["metrics"] for run in ended["result"]["runs"]]
    assert early["code"] == "benchmark_run_not_found"
    assert (gone.status_code, after.status_code) == (204, 404)
    assert await count_results(api) == 0


# --- stopping and going on -------------------------------------------------------------------------


@pytest.fixture
def slow(settings: Settings, server: FakeModelServer) -> Settings:
    """A collection's model can be ``slow``, which is served beside the usual one."""
    other = EmbeddingServer(url=server.url, model=server.model)
    return settings.model_copy(update={"embedding_others": [other]})


async def open_slow(api: Api, server: FakeModelServer, corpus: Path) -> None:
    """The collection ``papers`` by that model, and the dataset ``words``."""
    async with running_worker(api.parts):
        ended = await api.wait(await api.create("papers", corpus, model=server.model))
    assert ended["state"] == "completed", ended
    await add_dataset(api, "words", make_content(corpus))


async def test_a_cancelled_benchmark_ends_at_once_and_a_retry_asks_only_the_rest(
    slow: Settings, server: FakeModelServer, corpus: Path
) -> None:
    """What was kept is not asked again, and the figures are those of a benchmark that nobody has stopped."""
    async with open_parts(slow, configured_endpoints(slow)) as parts, open_client(parts) as api:
        await open_slow(api, server, corpus)
        async with running_worker(parts):
            server.delay_seconds = 0.05
            server.texts.clear()
            operation = await measure(api, "papers", dataset="words", runs=[{"mode": "dense"}], concurrency=2)

            async def some() -> bool:
                return await count_results(api) >= 5

            await wait_until(some)
            server.held = True
            await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
            cancelled = await api.wait(operation)
            kept = await read_kept(parts)
            listed = (await api.client.get("/api/v1/collections/papers/benchmarks")).json()["benchmarks"]
            server.held, server.delay_seconds = False, 0.0
            await api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
            resumed = await api.wait(operation)
            asked = Counter(server.texts)
            whole = await api.wait(await measure(api, "papers", dataset="words", runs=[{"mode": "dense"}]))

    assert cancelled["state"] == "cancelled"
    assert listed[0]["state"] == "cancelled"
    assert 5 <= len(kept) < QUERIES
    assert resumed["state"] == "completed", resumed
    assert {asked[query] for query in kept} == {1}
    assert resumed["result"]["runs"][0]["metrics"] == whole["result"]["runs"][0]["metrics"]
    assert resumed["result"]["runs"][0]["ci95"] == whole["result"]["runs"][0]["ci95"]


async def read_kept(parts: Parts) -> list[str]:
    """Texts of queries that need not be asked again."""
    query = text(
        """SELECT q.text FROM benchmark_results r JOIN benchmarks b ON b.id = r.benchmark_id
           JOIN benchmark_queries q ON q.dataset_id = b.dataset_id AND q.position = r.number"""
    )
    async with parts.database.begin() as connection:
        return [row.text for row in await connection.execute(query)]


async def test_a_paused_benchmark_goes_on_where_it_was(slow: Settings, server: FakeModelServer, corpus: Path) -> None:
    """No query is asked twice: a pause waits for those that are under way."""
    async with open_parts(slow, configured_endpoints(slow)) as parts, open_client(parts) as api:
        await open_slow(api, server, corpus)
        async with running_worker(parts):
            server.delay_seconds = 0.05
            server.texts.clear()
            operation = await measure(api, "papers", dataset="words", runs=[{"mode": "dense"}], concurrency=2)

            async def some() -> bool:
                return await count_results(api) >= 3

            await wait_until(some)
            await api.client.post(f"/api/v1/operations/{operation['operation_id']}/pause")
            await api.wait(operation, states=["pending"])
            kept = await count_results(api)
            server.delay_seconds = 0.0
            await api.client.post(f"/api/v1/operations/{operation['operation_id']}/resume")
            ended = await api.wait(operation)
            queries = {query.text for query in make_content(corpus).queries}
            asked = Counter(one for one in server.texts if one in queries)

    assert 3 <= kept < QUERIES
    assert ended["state"] == "completed", ended
    assert set(asked.values()) == {1}
    assert len(asked) == len(queries)


async def test_a_query_that_the_model_refuses_is_one_querys_error(
    slow: Settings, server: FakeModelServer, corpus: Path
) -> None:
    """It counts as nothing found, and is told; a model that is away is waited for."""
    async with open_parts(slow, configured_endpoints(slow)) as parts, open_client(parts) as api:
        await open_slow(api, server, corpus)
        async with running_worker(parts):
            server.poison = make_content(corpus).queries[4].text
            ended = await api.wait(await measure(api, "papers", dataset="words", runs=[{"mode": "dense"}]))

    assert ended["state"] == "completed", ended
    assert ended["result"]["queries_failed"] == 1
    assert ended["result"]["runs"][0]["queries_failed"] == 1


# --- again and again --------------------------------------------------------------------------------


async def attach(api: Api, dataset: str, **body: Any) -> dict[str, Any]:
    """Attach a dataset to the collection ``papers``."""
    answer = await api.client.put(f"/api/v1/collections/papers/attached-benchmarks/{dataset}", json=body)
    assert answer.status_code == 200, answer.text
    attached: dict[str, Any] = answer.json()["attached"][0]
    return attached


async def begin_due(api: Api) -> dict[str, Any]:
    """As the schedule does."""
    jobs = open_periodic_jobs(api.parts, worker="test")
    try:
        done = await jobs.run("begin_due_benchmarks", dry_run=False, wait_seconds=30)
    finally:
        await jobs.aclose()
    assert done.result is not None, done
    return done.result


async def test_an_attached_benchmark_is_run_by_the_clock_and_after_another_generation_serves(
    settings: Settings, corpus: Path
) -> None:
    """Once each time; the benchmark before is the baseline."""
    settings = settings.model_copy(update={"reindex_gate_sample": 0.05})
    async with (
        open_parts(settings, configured_endpoints(settings)) as parts,
        open_client(parts) as api,
        running_worker(parts),
    ):
        await api.wait(await api.create("papers", corpus))
        await add_dataset(api, "words", make_content(corpus))
        attached = await attach(api, "words", every_seconds=3600, fail_if=["ndcg@10 < baseline - 0.2"])
        assert attached["next_at"] is not None
        not_yet = await begin_due(api)
        await make_due(parts)
        first = await begin_due(api)
        again = await begin_due(api)
        await wait_for_benchmarks(api, 1)
        # what somebody measures in between is no baseline of what is attached
        by_hand = await api.wait(await measure(api, "papers", dataset="words", runs=[{"mode": "bm25"}]))
        rebuilt = await api.wait(await reindex(api, "papers"))
        after = await begin_due(api)
        listed = await wait_for_benchmarks(api, 3)
        gate = {check["name"]: check for check in rebuilt["result"]["validation"]["checks"]}

    assert [one["begun"] for one in (not_yet, first, again, after)] == [0, 1, 0, 1]
    assert rebuilt["state"] == "completed", rebuilt
    # the gate has asked the judged queries
    assert any(name.startswith("judged_ndcg@10") for name in gate["search_quality"]["detail"]["measures"])
    newest, middle, oldest = listed
    assert middle["benchmark_id"] == by_hand["result"]["benchmark_id"]
    assert newest["config"]["baseline"]["benchmark_id"] == oldest["benchmark_id"]
    assert newest["config"]["fail_if"] == ["ndcg@10 < baseline - 0.2"]
    assert oldest["config"]["fail_if"] == []
    assert newest["runs"][0]["generation"] != oldest["runs"][0]["generation"]


async def test_an_attachment_that_is_broken_holds_up_no_other(api: Api, papers: Path) -> None:
    """It stays due, and is told of in the log; one that cannot be begun says why."""
    for name in ("good", "broken", "dropped"):
        await add_dataset(api, name, make_content(papers, queries=3, salt=name))
        await attach(api, name, every_seconds=3600)
    async with api.parts.database.begin() as connection:
        for name, config in (("broken", "'{}'"), ("dropped", """jsonb_set(a.config, '{generations}', '["gone"]')""")):
            await connection.execute(
                text(
                    f"""UPDATE attached_benchmarks a SET config = {config} FROM benchmark_datasets d
                        WHERE d.id = a.dataset_id AND d.name = :name"""  # noqa: S608 — values of this test
                ),
                {"name": name},
            )
    await make_due(api.parts)

    result = await begin_due(api)
    await wait_for_benchmarks(api, 1)

    attached = (await api.client.get("/api/v1/collections/papers/attached-benchmarks")).json()["attached"]
    codes = {one["dataset"]: one["last_error_code"] for one in attached}
    assert result == {"due": 3, "begun": 1, "failed": 1}
    assert codes == {"good": None, "broken": None, "dropped": "generation_unknown"}


async def make_due(parts: Parts) -> None:
    """As if an interval were over."""
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE attached_benchmarks SET next_at = now() - interval '1 second'"))


async def wait_for_benchmarks(api: Api, count: int) -> list[dict[str, Any]]:
    """The benchmarks of the collection once so many have completed, newest first."""

    async def all_done() -> list[dict[str, Any]] | None:
        listed = (await api.client.get("/api/v1/collections/papers/benchmarks")).json()["benchmarks"]
        return listed if [one["state"] for one in listed] == ["completed"] * count else None

    found: list[dict[str, Any]] = await wait_until(all_done)
    return found


async def test_benchmarks_that_nobody_measures_are_ended(api: Api, papers: Path) -> None:
    """One whose operation is gone; one that has just been created is let be."""
    await add_dataset(api, "words", make_content(papers, queries=3))
    operation = await measure(api, "papers", dataset="words", run_after="2999-01-01T00:00:00Z")
    async with api.parts.database.begin() as connection:
        await connection.execute(text("DELETE FROM operations WHERE id = :id"), {"id": UUID(operation["operation_id"])})
    jobs = open_periodic_jobs(api.parts, worker="test")
    try:
        young = await jobs.run("cleanup_stale_benchmarks", dry_run=False, wait_seconds=30)
        async with api.parts.database.begin() as connection:
            await connection.execute(text("UPDATE benchmarks SET created_at = now() - interval '1 hour'"))
        tried = await jobs.run("cleanup_stale_benchmarks", dry_run=True, wait_seconds=30)
        done = await jobs.run("cleanup_stale_benchmarks", dry_run=False, wait_seconds=30)
    finally:
        await jobs.aclose()

    (listed,) = (await api.client.get("/api/v1/collections/papers/benchmarks")).json()["benchmarks"]
    ended = [one.result["benchmarks"] for one in (young, tried, done) if one.result]
    assert ended == [0, 1, 1]
    assert (listed["state"], listed["error_code"]) == ("failed", "operation_not_found")


async def test_a_deleted_collection_takes_its_benchmarks_along(api: Api, papers: Path) -> None:
    """The dataset stays: it is its owner's, not the collection's."""
    await add_dataset(api, "words", make_content(papers, queries=3))
    await api.wait(await measure(api, "papers", dataset="words"))
    await attach(api, "words")

    deleted = await api.client.delete("/api/v1/collections/papers")
    await api.wait(deleted.json())

    async with api.parts.database.begin() as connection:
        counts = [
            await connection.scalar(text(f"SELECT count(*) FROM {table}"))  # noqa: S608 — names of tables
            for table in ("benchmarks", "benchmark_runs", "benchmark_results", "attached_benchmarks")
        ]
        datasets = await connection.scalar(text("SELECT count(*) FROM benchmark_datasets"))
    assert (counts, datasets) == ([0, 0, 0, 0], 1)


async def test_the_same_request_is_one_benchmark(api: Api, papers: Path) -> None:
    """Also where it comes twice at once."""
    await add_dataset(api, "words", make_content(papers, queries=3))
    body, key = {"dataset": "words"}, {"Idempotency-Key": "nightly"}

    answers = await asyncio.gather(
        *(api.client.post("/api/v1/collections/papers/benchmarks", json=body, headers=key) for _ in range(3))
    )

    assert len({answer.json()["operation_id"] for answer in answers}) == 1
    await api.wait(answers[0].json())
    assert len((await api.client.get("/api/v1/collections/papers/benchmarks")).json()["benchmarks"]) == 1
