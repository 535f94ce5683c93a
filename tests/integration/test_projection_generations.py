"""Maps of two generations of a collection lie over each other, and say how far each point has moved."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain.points import Vectors
from app.projection.overlapping import place_over, read_cut
from app.settings import Settings
from tests.harness import Api
from tests.integration.test_projections import draw, folder_of
from tests.integration.test_reindex import REPORT_ONLY, reindex, serving
from tests.reindex.generations import ProjectedServer

pytestmark = pytest.mark.timeout(300)

DOCUMENTS = 160
WORDS = 700
"""Of a document: two or three chunks, or six after the rebuild."""
TOPICS = (
    "whale ocean harbour sailor reef tide anchor coral",
    "oven flour yeast bread butter pastry sugar crust",
    "rocket orbit launch engine satellite fuel thrust moon",
    "violin concert melody orchestra piano singer rhythm choir",
    "contract court judge lawyer verdict witness trial statute",
    "glacier mountain summit avalanche climber ridge snow valley",
    "enzyme protein molecule cell membrane antibody virus gene",
    "football goalkeeper referee stadium league striker penalty coach",
)
"""What documents are about: maps of chance alone have no shape to keep."""
SECONDS = 120.0
DIMENSION = 128
Floats = NDArray[np.float64]


def narrow(vector: Vectors) -> Vectors:
    """A model that sees the same as the packaged one, less clearly and from another side."""
    turn = np.random.default_rng(1).normal(size=(len(vector), DIMENSION)).astype(np.float32)
    turned: Vectors = vector @ turn
    return turned


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Documents of several chunks, each about one thing and a little about another."""
    root, random = tmp_path / "corpus", np.random.default_rng(5)
    root.mkdir()
    for number in range(DOCUMENTS):
        own, other = (TOPICS[(number + step) % len(TOPICS)].split() for step in (0, 1 + number % 3))
        words = [str(random.choice(own if random.random() < 0.8 else other)) for _ in range(WORDS)]
        (root / f"{number:03}.txt").write_text(" ".join(words))
    return root


def read_places(folder: Path) -> tuple[NDArray[Any], Floats]:
    """The document of each point, and where it is."""
    documents = np.fromfile(folder / "documents.bin", dtype="S16")
    axes = [np.fromfile(folder / f"{axis}.f32", dtype="<f4") for axis in "xy"]
    return documents, np.stack(axes, axis=1).astype(np.float64)


def centres_of(folder: Path) -> Floats:
    """The mean place of each document, in the order of their ids."""
    documents, places = read_places(folder)
    _, rows = np.unique(documents, return_inverse=True)
    return np.stack([np.bincount(rows, weights=axis) / np.bincount(rows) for axis in places.T], axis=1)


def measure_radius(places: Floats) -> float:
    """Root of the mean square of the distances from the middle."""
    return float(np.sqrt(np.square(places - places.mean(axis=0)).sum(axis=1).mean()))


def measure_shift(before: Path, after: Path) -> float:
    """How far the usual document lies from where it was, as a share of the map's radius; nothing is aligned here."""
    old, new = centres_of(before), centres_of(after)
    return float(np.median(np.linalg.norm(new - old, axis=1)) / measure_radius(old))


async def rebuild(api: Api, **wanted: Any) -> None:
    """To its end."""
    ended = await api.wait(await reindex(api, "papers", **wanted, **REPORT_ONLY), seconds=SECONDS)
    assert ended["state"] == "completed", ended


async def test_maps_of_other_chunks_lie_over_each_other(api: Api, worker: None, corpus: Path) -> None:
    """Hardly a point has the id of one before, so places come from the characters that chunks share."""
    await api.wait(await api.create("papers", corpus))
    first = await draw(api, method="umap")
    await rebuild(api, chunk_size=150)

    second = await draw(api, method="umap")
    fresh = await draw(api, method="tsne")

    old, new = folder_of(api, first), folder_of(api, second)
    assert second["points"] > 1.5 * first["points"]
    assert second["begun_from"] == second["points"]
    assert fresh["begun_from"] == 0
    assert measure_shift(old, new) < 0.15 < measure_shift(old, folder_of(api, fresh))
    _, places = read_places(new)
    then = place_over(read_cut(old), np.load(old / "coordinates.npy"), read_cut(new)).astype(np.float64)
    moved = np.linalg.norm(places - then, axis=1)
    # the last chunks of some documents are the same in both
    cut = ~np.isin(np.fromfile(new / "ids.bin", dtype="S16"), np.fromfile(old / "ids.bin", dtype="S16"))
    assert cut.mean() > 0.9
    np.testing.assert_allclose(np.fromfile(new / "moved.f32", dtype="<f4")[cut], moved[cut], rtol=1e-3, atol=1e-3)
    assert second["displacement"]["median"] == pytest.approx(np.median(moved) / measure_radius(then), rel=2e-2)
    assert second["quality"]["trustworthiness@15"] > first["quality"]["trustworthiness@15"] - 0.03


async def test_maps_of_another_model_lie_over_each_other(settings: Settings, corpus: Path) -> None:
    """Its chunks are the same, so each is where it was but for what the model sees otherwise."""
    with ProjectedServer("narrow", narrow, dimension=DIMENSION).running() as server:
        async with serving(settings, server) as api:
            await api.wait(await api.create("papers", corpus))
            first = await draw(api, method="umap")
            await rebuild(api, model="narrow")

            second = await draw(api, method="umap")

            old, new = folder_of(api, first), folder_of(api, second)
            (ids, there), (same, here) = ((np.fromfile(each / "ids.bin", dtype="S16"), each) for each in (old, new))
            assert (ids == same).all()
            moved = np.linalg.norm(read_places(here)[1] - read_places(there)[1], axis=1)
            np.testing.assert_allclose(np.fromfile(new / "moved.f32", dtype="<f4"), moved, rtol=1e-3, atol=1e-3)
            assert second["begun_from"] == first["points"] == second["points"]
            assert measure_shift(old, new) < 0.2
            assert second["displacement"]["median"] == pytest.approx(
                np.median(moved) / measure_radius(read_places(there)[1]), rel=1e-2
            )
