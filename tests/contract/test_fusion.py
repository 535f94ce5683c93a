"""Fusions of a hybrid search, against sums made by hand."""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, stdev
from uuid import UUID

import numpy as np
import pytest

from app.domain.points import Fusion, PointBatch, PointQuery, SearchFilter, SearchMode, Vectors
from app.stores.qdrant import QdrantStore
from tests.contract.conftest import Address
from tests.contract.vector_server import DIMENSION, SOURCE, axis

TEXTS = (
    "Bread rises in the oven for an hour",
    "The ocean is deep, and the ocean is cold",
    "Whales sing in the ocean, and whales answer",
    "A whale is no fish",
    "Rockets leave the atmosphere of the earth",
    "Ships cross the ocean",
    "Tea is best with hot water",
)
QUERY = "whales in the ocean"
ANGLES = (0.1, 0.9, 0.5, 0.2, 0.3, 1.3, 0.6)
"""Between the query and each text, so that both rankings differ."""

Ranking = Sequence[tuple[UUID, float]]


def lean(angle: float) -> Vectors:
    """A unit vector at an angle to the first axis."""
    vector: Vectors = (np.cos(angle) * axis(0) + np.sin(angle) * axis(1)).astype(np.float32)
    return vector


@pytest.fixture
async def filled(store: QdrantStore, name: str) -> str:
    """A collection of ``TEXTS``, each a document of its own."""
    ids = [UUID(int=number + 1) for number in range(len(TEXTS))]
    payloads = [
        {"document_id": str(UUID(int=99)), "source_id": str(SOURCE), "file_type": "txt", "folders": [f"{number}.txt"]}
        for number in range(len(TEXTS))
    ]
    vectors = np.stack([lean(angle) for angle in ANGLES])
    assert vectors.shape == (len(TEXTS), DIMENSION)
    await store.upsert(name, PointBatch(ids=ids, vectors=vectors, texts=TEXTS, payloads=payloads))
    return name


async def ask(store: QdrantStore, name: str, mode: SearchMode, **settings: object) -> Ranking:
    """Points and scores, best first."""
    values = {"text": QUERY, "vector": axis(0), "filter": SearchFilter(), **settings}
    found = await store.search(name, PointQuery(mode=mode, **values))  # type: ignore[arg-type]  # any settings
    return [(point.id, point.score) for point in found]


def add_ranks(rankings: Sequence[Ranking], weights: Sequence[float], k: int) -> dict[UUID, float]:
    """Reciprocal rank fusion as Qdrant has it: the best rank counts 1 / k, and weights divide ranks."""
    sums: dict[UUID, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, (point, _) in enumerate(ranking, 1):
            sums[point] = sums.get(point, 0.0) + 1 / (k - 1 + rank / weight)
    return sums


def add_scores(rankings: Sequence[Ranking]) -> dict[UUID, float]:
    """Distribution-based fusion: three standard deviations below and above the mean become 0 and 1."""
    sums: dict[UUID, float] = {}
    for ranking in rankings:
        scores = [score for _, score in ranking]
        low, width = mean(scores) - 3 * stdev(scores), 6 * stdev(scores)
        for point, score in ranking:
            sums[point] = sums.get(point, 0.0) + (score - low) / width
    return sums


def require_equal(found: Ranking, expected: Mapping[UUID, float]) -> None:
    """The same points with the same scores, best first."""
    assert dict(found) == pytest.approx(expected, abs=1e-4)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


Expect = Callable[[Sequence[Ranking]], Mapping[UUID, float]]
CASES: Mapping[str, tuple[dict[str, object], Expect]] = {
    "usual": ({}, lambda both: add_ranks(both, [1, 1], 60)),
    "k": ({"fusion_k": 3}, lambda both: add_ranks(both, [1, 1], 3)),
    "weights": (
        {"fusion_k": 10, "dense_weight": 3.0, "bm25_weight": 1.0},
        lambda both: add_ranks(both, [1.5, 0.5], 10),
    ),
    "only_the_ratio_counts": (
        {"fusion_k": 10, "dense_weight": 0.3, "bm25_weight": 0.1},
        lambda both: add_ranks(both, [1.5, 0.5], 10),
    ),
    "equal_weights": ({"dense_weight": 7.0, "bm25_weight": 7.0}, lambda both: add_ranks(both, [1, 1], 60)),
    "dense_alone": ({"bm25_weight": 0.0}, lambda both: add_ranks(both[:1], [1], 60)),
    "bm25_alone": ({"dense_weight": 0.0}, lambda both: add_ranks(both[1:], [1], 60)),
    "scores": ({"fusion": Fusion.DBSF}, add_scores),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_fusion_is_what_its_formula_says(store: QdrantStore, filled: str, case: str) -> None:
    """Of the two rankings as the store gives them alone."""
    settings, expect = CASES[case]
    both = [await ask(store, filled, mode) for mode in (SearchMode.DENSE, SearchMode.BM25)]

    found = await ask(store, filled, SearchMode.HYBRID, **settings)

    assert [point for point, _ in both[0]][:3] != [point for point, _ in both[1]][:3]
    require_equal(found, expect(both))


@pytest.mark.parametrize("fusion", Fusion)
async def test_candidates_are_all_that_is_fused(store: QdrantStore, filled: str, fusion: Fusion) -> None:
    """Two of each ranking; ranks and scores of others do not count."""
    both = [(await ask(store, filled, mode))[:2] for mode in (SearchMode.DENSE, SearchMode.BM25)]

    found = await ask(store, filled, SearchMode.HYBRID, fusion=fusion, prefetch=2)

    require_equal(found, add_scores(both) if fusion is Fusion.DBSF else add_ranks(both, [1, 1], 60))


@pytest.mark.parametrize(
    ("mode", "fusion"),
    [
        (SearchMode.DENSE, Fusion.RRF),
        (SearchMode.BM25, Fusion.RRF),
        (SearchMode.HYBRID, Fusion.RRF),
        (SearchMode.HYBRID, Fusion.DBSF),
    ],
)
async def test_a_threshold_leaves_out_lower_scores(
    store: QdrantStore, filled: str, mode: SearchMode, fusion: Fusion
) -> None:
    """Of the fused scores where there is a fusion."""
    everything = await ask(store, filled, mode, fusion=fusion)
    threshold = (everything[1][1] + everything[2][1]) / 2

    found = await ask(store, filled, mode, fusion=fusion, score_threshold=threshold)

    assert found == everything[:2]


@pytest.mark.parametrize("fusion", Fusion)
async def test_a_ranking_of_one_or_none_can_be_fused(store: QdrantStore, filled: str, fusion: Fusion) -> None:
    """Scores without a spread are numbers all the same."""
    only = SearchFilter(folders=("0.txt",))

    found = await ask(store, filled, SearchMode.HYBRID, fusion=fusion, filter=only)
    nothing = await ask(store, filled, SearchMode.HYBRID, fusion=fusion, filter=SearchFilter(folders=("none",)))

    assert [point for point, score in found if np.isfinite(score)] == [UUID(int=1)]
    assert nothing == []


WRONG = {
    "another_fusion": {"fusion": "sum"},
    "weights_for_others": {"rrf": {"k": 2, "weights": [1.0]}},
    "no_list": {"rrf": {"weights": 1}},
    "less_than_nothing": {"rrf": {"weights": [1, -1]}},
    "no_number": {"rrf": {"weights": [1, None]}},
    "endless": {"rrf": {"weights": [1, 1e300]}},
    "no_k": {"rrf": {"k": 0}},
    "half_a_k": {"rrf": {"k": 1.5}},
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_fusion_is_refused(
    shared_server: object, store: QdrantStore, address: Address, case: str
) -> None:
    """By the embedded server, before the engine sees it."""
    name = f"contract-wrong-{case}"
    await store.create_collection(name, dimension=DIMENSION)
    prefetch = [{"query": axis(0).tolist(), "using": "dense"}] * 2

    async with address.open_raw() as client:
        answer = await client.post(
            f"/collections/{name}/points/query", json={"prefetch": prefetch, "query": WRONG[case]}
        )
    await store.drop_collection(name)

    assert (answer.status_code, "error" in answer.json()["status"]) == (400, True)
