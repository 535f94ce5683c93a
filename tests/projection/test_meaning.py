"""Meaning is found in the folder of a projection, and bounded whatever lies there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.projection.categories import (
    OTHER,
    OTHER_NAME,
    read_categories,
    tell_apart,
    write_categories,
    write_cluster_categories,
)
from app.projection.meaning import MeaningAnswer, MeaningRequest, find_meaning

TOPICS = ("sourdough starter flour crust", "orbit rocket satellite payload", "violin sonata cello orchestra")
MEMORY_BYTES = 1_000_000_000
"""Peak of the process that finds the meaning of 200 000 points and writes all artifacts; it takes some 600 MB."""


def write_folder(folder: Path, *, each: int = 60, dimensions: int = 2) -> str:
    """A projection of three topics that lie apart; the last point is alone."""
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(3), each)
    centres = np.array([[0, 0, 0], [20, 0, 5], [0, 20, 9]], np.float32)[:, :dimensions]
    points = centres[of] + rng.normal(size=(len(of), dimensions)).astype(np.float32)
    np.save(folder / "coordinates.npy", np.concatenate([points, centres.sum(axis=0, keepdims=True)]))
    with (folder / "texts.jsonl").open("w") as lines:
        for row, topic in enumerate([*of.tolist(), 0]):
            lines.write(json.dumps({"row": row, "text": f"{TOPICS[topic]} and the others"}) + "\n")
    return str(folder)


def ask(folder: str) -> MeaningAnswer:
    """Look for meaning."""
    return find_meaning(MeaningRequest(folder=folder, texts=f"{folder}/texts.jsonl"))


def read_json(folder: str, name: str) -> Any:
    """A file that was written."""
    return json.loads((Path(folder) / name).read_text())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_clusters_have_labels_places_and_parents(tmp_path: Path, dimensions: int) -> None:
    """Fine clusters carry the ids of the array, and each lies in a coarse one; labels are of the topic."""
    folder = write_folder(tmp_path, dimensions=dimensions)

    answer = ask(folder)

    clusters = read_json(folder, "clusters.json")
    of = np.load(tmp_path / "clusters.npy")
    coarse = {one["id"]: one for one in clusters if one["level"] == 0}
    fine = {one["id"]: one for one in clusters if one["level"] == 1}
    assert (answer.points, answer.clusters, answer.coarse_clusters) == (181, len(fine), len(coarse))
    assert answer.noise == (of == -1).sum() >= 1
    assert of.dtype == np.int32
    assert {one: int((of == one).sum()) for one in fine} == {one: fine[one]["size"] for one in fine}
    for one in fine.values():
        [topic] = {TOPICS[row // 60] for row in np.flatnonzero(of == one["id"]).tolist()}
        assert set(one["terms"]) <= {
            *topic.split(),
            *(" ".join(two) for two in zip(topic.split(), topic.split()[1:], strict=False)),
        }
        assert one["label"]
        assert one["parent"] in coarse
        assert set("xyz"[:dimensions]) <= set(one)
    assert {one: sum(each["size"] for each in fine.values() if each["parent"] == one) for one in coarse} == {
        one: coarse[one]["size"] for one in coarse
    }


def test_findings_name_rows_of_the_projection(tmp_path: Path) -> None:
    """With vectors and neighbours, findings and cosines are written."""
    folder = write_folder(tmp_path)
    rng = np.random.default_rng(0)
    vectors = (np.eye(16)[0] + rng.normal(scale=0.1, size=(181, 16))).astype(np.float32)
    vectors[5] = np.eye(16)[9]
    vectors[100] = vectors[20]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T - 3 * np.eye(181)
    np.save(tmp_path / "vectors.npy", vectors)
    np.save(tmp_path / "neighbours.npy", np.argsort(-cosines, axis=1)[:, :15].astype(np.int32))
    (tmp_path / "documents.bin").write_bytes(rng.bytes(16 * 181))

    found = find_meaning(MeaningRequest(folder=folder, near_duplicate=0.9999)).findings

    assert found == read_json(folder, "findings.json")
    assert found["outliers"]["first"][0]["row"] == 5
    assert found["near_duplicates"]["count"] == 1
    assert found["near_duplicates"]["first"][0] == {"size": 2, "rows": [20, 100], "documents": 2, "similarity": 1.0}
    assert np.load(tmp_path / "similarities.npy").shape == (181, 15)


def test_placed_points_take_the_cluster_of_their_neighbours(tmp_path: Path) -> None:
    """Clusters are made of what was laid out; the others join them, and what has no place is noise."""
    folder = write_folder(tmp_path)
    coordinates = np.load(tmp_path / "coordinates.npy")
    added = np.concatenate([coordinates, coordinates[:3] + 0.01, [[np.nan, 0]]]).astype(np.float32)
    np.save(tmp_path / "coordinates.npy", added)
    np.repeat([0, 1], [181, 4]).astype(np.uint8).tofile(tmp_path / "placed.u8")

    answer = ask(folder)

    of = np.load(tmp_path / "clusters.npy")
    assert answer.points == 185
    assert of[181:184].tolist() == of[:3].tolist()
    assert of[184] == -1


def test_points_without_neighbours_belong_to_nothing(tmp_path: Path) -> None:
    """A vector that is no numbers has no neighbours; its point lies in the middle of the map, and that says nothing."""
    folder = write_folder(tmp_path)
    coordinates = np.load(tmp_path / "coordinates.npy")
    coordinates[:4] = coordinates.mean(axis=0)
    np.save(tmp_path / "coordinates.npy", coordinates)
    neighbours = np.zeros((181, 15), np.int32)
    neighbours[:4] = -1
    np.save(tmp_path / "neighbours.npy", neighbours)

    ask(folder)

    of = np.load(tmp_path / "clusters.npy")
    assert (of[:4] == -1).all()
    assert (of[4:60] != -1).mean() > 0.9


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_a_few_points_have_no_clusters(tmp_path: Path, count: int) -> None:
    """No clusters, no findings, no error; all files are there."""
    np.save(tmp_path / "coordinates.npy", np.eye(5, 2, dtype=np.float32)[:count])
    np.save(tmp_path / "vectors.npy", np.eye(5, 8, dtype=np.float32)[:count])
    np.save(tmp_path / "neighbours.npy", np.zeros((count, max(0, count - 1)), np.int32))
    (tmp_path / "texts.jsonl").write_text("".join(f'{{"row": {row}, "text": "one"}}\n' for row in range(count)))

    answer = ask(str(tmp_path))

    assert (answer.points, answer.clusters, answer.noise) == (count, 0, count)
    assert read_json(str(tmp_path), "clusters.json") == []
    assert write_cluster_categories(str(tmp_path))


def test_colour_by_cluster_is_by_coarse_cluster(tmp_path: Path) -> None:
    """Names are labels, the largest first, and noise is *Other*."""
    folder = write_folder(tmp_path)
    ask(folder)

    categories = read_categories(write_cluster_categories(folder), 181)

    labels = {one["label"]: one["size"] for one in read_json(folder, "clusters.json") if one["level"] == 0}
    counted = categories.count()
    assert {name: count for _, name, count, _ in counted if name != OTHER_NAME} == labels
    assert counted[-1][:2] == (OTHER, OTHER_NAME)
    assert (categories.of == OTHER).tolist() == (np.load(tmp_path / "clusters.npy") == -1).tolist()


def test_categories_can_be_told_apart(tmp_path: Path) -> None:
    """Whatever they are called, also like what has no category, or nothing at all."""
    values = ["Other"] * 5 + [""] * 4 + ["Other (2)"] * 3 + [None, None] + ["x" * 200] * 2 + ["x" * 199]

    counted = read_categories(write_categories(str(tmp_path), values), len(values)).count()

    names = [name for _, name, _, _ in counted]
    assert [count for _, _, count, _ in counted] == [5, 4, 3, 2, 1, 2]
    assert names[-1] == OTHER_NAME
    assert len(set(names)) == len(names)
    assert all(name.strip() for name in names)
    assert tell_apart(["a", "a", "a (2)", "a"]) == ["a", "a (2)", "a (2) (2)", "a (3)"]
    assert tell_apart(tell_apart(["Other", "", "", "b"])) == tell_apart(["Other", "", "", "b"])


def test_categories_are_the_most_frequent(tmp_path: Path) -> None:
    """Of 300, the 255 most frequent have a number, by frequency; the others, and what has no value, are *Other*."""
    values: list[str | None] = [f"folder {n}" for n in range(300) for _ in range(n + 1)]
    values.append(None)

    categories = read_categories(write_categories(str(tmp_path), values), len(values))

    assert len(categories.names) == 255
    assert categories.names[:2] == ["folder 299", "folder 298"]
    assert categories.of[values.index("folder 299")] == 0
    assert categories.of[values.index("folder 45")] == 254
    assert categories.of[values.index("folder 44")] == categories.of[-1] == OTHER
    counts = [count for _, _, count, _ in categories.count()]
    assert sum(counts) == len(values)
    assert len({colour for *_, colour in categories.count()}) == 256, "each has a colour of its own"


def test_categories_that_name_nothing_are_other(tmp_path: Path) -> None:
    """Numbers beyond the names, and negative ones; another number of them than of points is refused."""
    np.save(tmp_path / "of.npy", np.array([0, 7, -1, 1, 1], np.int32))
    (tmp_path / "c.json").write_text(json.dumps({"names": ["a", "b"], "of": str(tmp_path / "of.npy")}))

    found = read_categories(str(tmp_path / "c.json"), 5)

    assert (list(found.names), found.of.tolist()) == (["b", "a"], [1, 255, 255, 0, 0])
    with pytest.raises(ValueError, match="5 categories for 6 points"):
        read_categories(str(tmp_path / "c.json"), 6)


BIG = """
import json, re, resource, sys
from pathlib import Path
import numpy as np
from app.projection.artifacts import ArtifactRequest, write_artifacts
from app.projection.categories import write_cluster_categories
from app.projection.meaning import MeaningRequest, find_meaning

folder = sys.argv[1]
answer = find_meaning(MeaningRequest(folder=folder, texts=folder + "/texts.jsonl"))
sizes = write_artifacts(ArtifactRequest(
    folder=folder, title="Large", method="umap", dimensions=2, colour_by="topic",
    categories=write_cluster_categories(folder), previews=folder + "/previews.jsonl",
))
status = Path("/proc/self/status")
# what the kernel counts of a process begins with what its parent had; that of its memory does not
own = re.search(r"VmHWM:\\s+(\\d+)", status.read_text()) if status.exists() else None
peak = 1024 * (int(own[1]) if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(json.dumps({"peak": peak, "clusters": answer.clusters, "sizes": sizes}))
"""


@pytest.mark.timeout(300)
def test_memory_of_many_points_is_bounded(tmp_path: Path) -> None:
    """200 000 points with texts and neighbours: the whole of it stays below a gigabyte, and the page is mailable."""
    rng, count = np.random.default_rng(0), 200_000
    of = rng.integers(0, 40, count)
    np.save(
        tmp_path / "coordinates.npy", (rng.uniform(-30, 30, (40, 2))[of] + rng.normal(size=(count, 2))).astype("f4")
    )
    vectors = np.eye(40, 64)[of] + rng.normal(scale=0.05, size=(count, 64))
    np.save(tmp_path / "vectors.npy", (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("f4"))
    np.save(tmp_path / "neighbours.npy", rng.integers(0, count, (count, 15)).astype("i4"))
    for name in ("ids.bin", "documents.bin"):
        (tmp_path / name).write_bytes(rng.bytes(16 * count))
    with (tmp_path / "texts.jsonl").open("w") as texts, (tmp_path / "previews.jsonl").open("w") as previews:
        for row in range(count):
            text = f"{TOPICS[row % 3]} " * 12
            texts.write(json.dumps({"row": row, "text": text}) + "\n")
            previews.write(json.dumps({"row": row, "preview": text, "uri": f"file:///{row}", "title": str(row)}) + "\n")

    ran = subprocess.run([sys.executable, "-c", BIG, str(tmp_path)], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["peak"] < MEMORY_BYTES
    assert found["clusters"] >= 10
    assert found["sizes"]["map.html"] < 20_000_000
    assert found["sizes"]["x.f32"] == 4 * count
