"""A worker that is killed while it measures: no finished query is asked again, and the figures are the same."""

import signal
from collections import Counter
from pathlib import Path

import pytest

from app.bootstrap import configured_endpoints, open_parts, running_worker
from app.settings import EmbeddingServer, Settings
from benchmarks.corpus import write_corpus
from tests.harness import Api, WorkerProcess, open_client, wait_until
from tests.integration.test_benchmarks import add_dataset, count_results, make_content, measure, read_kept
from tests.model_server import FakeModelServer

KILLS = 3
DOCUMENTS = 20
QUERIES = 40


@pytest.fixture
def server() -> FakeModelServer:
    """Each answer takes a moment, so that a benchmark has a middle."""
    return FakeModelServer()


async def test_a_killed_benchmark_goes_on_with_what_is_not_asked(
    settings: Settings, server: FakeModelServer, tmp_path: Path
) -> None:
    """Killed in the middle again and again; each query that was kept was asked once, by one of them."""
    other = EmbeddingServer(url=server.url, model=server.model)
    settings = settings.model_copy(update={"embedding_others": [other], "max_interruptions": 100})
    corpus = tmp_path / "corpus"
    write_corpus(corpus, DOCUMENTS, seed=5)
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    with server.running():
        async with open_parts(settings, configured_endpoints(settings)) as parts, open_client(parts) as api:
            async with running_worker(parts):
                await api.wait(await api.create("papers", corpus, model=server.model))
            await add_dataset(api, "words", make_content(corpus, queries=QUERIES))
            server.texts.clear()
            server.delay_seconds = 0.1
            runs = [{"mode": "dense"}, {"mode": "bm25"}]
            operation = await measure(api, "papers", dataset="words", runs=runs, concurrency=2)
            finished: Counter[str] = Counter()
            try:
                for _ in range(KILLS):
                    worker.start()
                    await _wait_for_more(api)
                    # those that are kept now were asked before now, and are not to be asked any more
                    kept, asked = await read_kept(parts), Counter(server.texts)
                    finished = Counter({query: asked[query] for query in kept})
                    worker.end(signal.SIGKILL)
                server.delay_seconds = 0.0
                worker.start()
                ended = await api.wait(operation)
                asked = Counter(server.texts)
            finally:
                worker.close()
            async with running_worker(parts):
                whole = await api.wait(await measure(api, "papers", dataset="words", runs=runs))

    assert ended["state"] == "completed", ended
    assert ended["attempt"] > KILLS
    assert len(finished) >= KILLS
    # only one run needs the vector of a query
    assert all(asked[query] == times for query, times in finished.items()), finished
    metrics = [[run["metrics"] for run in one["result"]["runs"]] for one in (ended, whole)]
    assert metrics[0] == metrics[1]
    assert ended["result"]["queries_failed"] == 0


async def _wait_for_more(api: Api) -> None:
    """Until some more queries are kept."""
    before = await count_results(api)

    async def some() -> bool:
        return await count_results(api) >= before + 3

    await wait_until(some)
