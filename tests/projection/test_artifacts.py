"""Artifacts are whole files that others read: Parquet, arrays, a page, a picture."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from app.projection import artifacts, page
from app.projection.artifacts import ArtifactRequest, write_artifacts
from app.projection.colours import write_colour
from app.projection.files import written
from app.projection.picture import HEIGHT, LEGEND, WIDTH

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    "{{script}} {{data}}",
    "\u2028\u2029 &lt; &amp;",
    "\u202e reversed \x00 nothing",
    "\ud800 alone",
    "quote \" and \\ and '",
)
ADDRESS = re.compile(
    r"(?:https?:|wss?:|ftp:)?//[a-z0-9]|url\(|@import|\bfetch\(|XMLHttpRequest|WebSocket|\bimport\b", re.IGNORECASE
)


class Page(HTMLParser):
    """The elements of a page, and the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element."""
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - as the library calls it
        """Its text has ended."""
        self._open = ""

    def handle_data(self, data: str) -> None:
        """Note the text."""
        self.texts.setdefault(self._open, []).append(data)

    @property
    def data(self) -> Any:
        """What the script reads."""
        return json.loads(self.texts["script"][0])


def fill(folder: Path, count: int, dimensions: int = 2, texts: Sequence[str] = ("A text",)) -> None:
    """A projection with everything that may be known of it."""
    rng = np.random.default_rng(0)
    np.save(folder / "coordinates.npy", rng.normal(size=(count, dimensions)).astype(np.float32))
    for name in ("ids.bin", "documents.bin"):
        (folder / name).write_bytes(rng.bytes(16 * count))
    (np.arange(count) % 2).astype(np.uint8).tofile(folder / "placed.u8")
    np.save(folder / "clusters.npy", (np.arange(count) % 3 - 1).astype(np.int32))
    labels = [(0, 1, "bread, crust, flour"), (1, 1, "orbit, rocket"), (2, 0, "things, other things")]
    place = dict(zip("xyz"[:dimensions], (0.1, 0.2, 0.3), strict=False))
    clusters = [
        {"id": one, "level": level, "parent": 2 if level else None, "size": count // 3, **place}
        | {"label": label, "terms": label.split(", ")}
        for one, level, label in labels
    ]
    (folder / "clusters.json").write_text(json.dumps(clusters))
    neighbours = (np.arange(count)[:, None] + np.arange(1, 4)) % max(count, 1)
    np.save(folder / "neighbours.npy", neighbours.astype(np.int32))
    np.save(folder / "similarities.npy", np.full((count, 3), [0.75, 0.5, np.nan], np.float32))
    np.save(folder / "of.npy", (np.arange(count) % 2).astype(np.int32))
    (folder / "categories.json").write_text(json.dumps({"names": ["red", texts[0]], "of": str(folder / "of.npy")}))
    with (folder / "previews.jsonl").open("w") as lines:
        for row in reversed(range(count)):
            text = texts[row % len(texts)]
            lines.write(json.dumps({"row": row, "preview": f"{row} {text}", "uri": text, "title": text}) + "\n")


def write(folder: Path, title: str = "A map", dimensions: int = 2) -> dict[str, int]:
    """Write all artifacts."""
    return write_artifacts(
        ArtifactRequest(
            folder=str(folder),
            title=title,
            method="umap",
            dimensions=dimensions,
            colour_by="folder",
            categories=str(folder / "categories.json"),
            previews=str(folder / "previews.jsonl"),
            meta={"seed": 42, "quality": {"trustworthiness@15": 0.96}, "degraded": "layout_failed"},
        )
    )


@pytest.mark.parametrize("dimensions", [2, 3])
def test_parquet_has_what_embedding_atlas_reads(tmp_path: Path, dimensions: int) -> None:
    """Columns, types and values, read back with pyarrow."""
    fill(tmp_path, 50, dimensions)
    write(tmp_path, dimensions=dimensions)

    table = pq.read_table(tmp_path / "points.parquet")

    rows = table.to_pylist()
    coordinates = np.load(tmp_path / "coordinates.npy")
    assert table.num_rows == 50
    axes = [*"xyz"[:dimensions], *(f"projection_{axis}" for axis in "xyz"[:dimensions])]
    named = {"id", "category", "cluster", "document_id", "preview", "text", "neighbors", "__row_index__", *axes}
    assert named <= set(table.column_names)
    assert ("z" in table.column_names) == (dimensions == 3)
    for row in (0, 1, 49):
        found = rows[row]
        assert [found[axis] for axis in axes] == [*coordinates[row].tolist()] * 2
        assert UUID(found["id"]).bytes == (tmp_path / "ids.bin").read_bytes()[16 * row : 16 * row + 16]
        assert UUID(found["document_id"]).bytes == (tmp_path / "documents.bin").read_bytes()[16 * row : 16 * row + 16]
        assert found["neighbors"] == {"ids": [(row + 1) % 50, (row + 2) % 50], "distances": [0.25, 0.5]}
        assert found["__row_index__"] == row
        assert found["preview"] == found["text"] == f"{row} A text"
        assert found["category"] == ("A text" if row % 2 else "red")
        assert found["cluster"] == row % 3 - 1
        assert found["cluster_label"] == {-1: "", 0: "bread, crust, flour", 1: "orbit, rocket"}[row % 3 - 1]
        assert found["placed"] is bool(row % 2)


def test_arrays_are_raw_and_small_levels_are_samples(tmp_path: Path) -> None:
    """Little-endian, a value a point; levels hold the points that their rows name."""
    fill(tmp_path, 10_000)
    sizes = write(tmp_path)

    meta = json.loads((tmp_path / "meta.json").read_text())

    coordinates = np.load(tmp_path / "coordinates.npy")
    assert np.fromfile(tmp_path / "x.f32", "<f4").tolist() == coordinates[:, 0].tolist()
    assert np.fromfile(tmp_path / "y.f32", "<f4").tolist() == coordinates[:, 1].tolist()
    assert np.fromfile(tmp_path / "category.u8", "u1").tolist() == [0, 1] * 5000
    rows = np.fromfile(tmp_path / "row.4096.u32", "<u4")
    assert len(set(rows.tolist())) == 4096
    assert abs(rows.mean() / 10_000 - 0.5) < 0.05, "from everywhere"
    assert np.fromfile(tmp_path / "x.4096.f32", "<f4").tolist() == coordinates[rows, 0].tolist()
    assert np.fromfile(tmp_path / "category.4096.u8", "u1").tolist() == (rows % 2).tolist()
    assert meta["levels"] == [4096]
    assert {name: one["bytes"] for name, one in meta["files"].items()} | {"meta.json": sizes["meta.json"]} == sizes
    assert sizes == {name: (tmp_path / name).stat().st_size for name in sizes}


def test_meta_describes_the_map(tmp_path: Path) -> None:
    """What was given, and what is needed to draw it."""
    fill(tmp_path, 60, 3)
    write(tmp_path, dimensions=3)

    meta = json.loads((tmp_path / "meta.json").read_text())

    coordinates = np.load(tmp_path / "coordinates.npy")
    assert (meta["method"], meta["dimensions"], meta["points"], meta["seed"]) == ("umap", 3, 60, 42)
    assert [one["axis"] for one in meta["bounds"]] == ["x", "y", "z"]
    assert [one["max"] for one in meta["bounds"]] == coordinates.max(axis=0).tolist()
    assert [(one["index"], one["name"], one["count"]) for one in meta["categories"]] == [
        (0, "red", 30),
        (1, "A text", 30),
    ]
    assert meta["files"]["z.f32"] == {"bytes": 240, "type": "float32"}


def test_the_page_holds_the_map(tmp_path: Path) -> None:
    """Coordinates, categories, texts and clusters can be read back from it."""
    fill(tmp_path, 200)
    write(tmp_path, title="Map & more")

    found = Page((tmp_path / "map.html").read_text()).data

    x = np.frombuffer(base64.b64decode(found["axes"][0]), "<u2").astype(float)
    coordinates = np.load(tmp_path / "coordinates.npy")
    assert found["shown"] == len(x) == 200
    assert abs(np.corrcoef(x, coordinates[:, 0])[0, 1]) > 0.9999
    assert list(base64.b64decode(found["category"])) == [0, 1] * 100
    assert found["previews"][7] == "7 A text"
    assert found["documents"] == [["A text", "A text"]]
    assert [one["lines"] for one in found["clusters"]] == [
        ["bread", "crust, flour"], ["orbit", "rocket"], ["things", "other things"],
    ]  # fmt: skip
    assert "degraded: layout failed" in found["facts"]
    assert "200 points" in found["facts"]


def test_the_page_loads_nothing_and_runs_one_script(tmp_path: Path) -> None:
    """No address, no resource; the policy knows script and style by their hashes and allows nothing else."""
    fill(tmp_path, 30)
    write(tmp_path)

    text = (tmp_path / "map.html").read_text()

    read = Page(text)
    assert not ADDRESS.findall(text.replace(read.texts["script"][0], "")), "but for the data, which are no code"
    for tag, attributes in read.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "a"}
        assert not {"src", "href", "srcset", "style", "action"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    [policy] = [one["content"] or "" for tag, one in read.elements if one.get("http-equiv")]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'"
    for kind, source in (("script-src", read.texts["script"][1]), ("style-src", read.texts["style"][0])):
        assert allowed[kind] == f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    """Whatever titles, texts, addresses, categories and labels hold, the page has the same elements."""
    fill(tmp_path, 40)
    write(tmp_path, title="plain")
    plain = Page((tmp_path / "map.html").read_text())
    for number, text in enumerate(HOSTILE):
        folder = tmp_path / str(number)
        folder.mkdir()
        fill(folder, 40, texts=[text])
        clusters = json.loads((folder / "clusters.json").read_text())
        (folder / "clusters.json").write_text(json.dumps([{**one, "label": text, "terms": [text]} for one in clusters]))

        write(folder, title=text)

        found = Page((folder / "map.html").read_text())
        assert found.elements == plain.elements
        assert found.texts["script"][1:] == plain.texts["script"][1:]
        shown = " ".join(text.encode("utf-8", "replace").decode().split())
        assert found.data["previews"][3] == f"3 {shown}"
        assert found.data["documents"] == [[shown, shown]]
        assert pq.read_table(folder / "points.parquet").column("preview")[3].as_py() == f"3 {shown}"


def test_a_large_map_is_sampled_for_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page holds as many points as it can, from everywhere, and says how many are shown."""
    monkeypatch.setattr(page, "MOST_POINTS", 100)
    fill(tmp_path, 1000)
    write(tmp_path)

    found = Page((tmp_path / "map.html").read_text()).data

    rows = [int(text.split()[0]) for text in found["previews"]]
    assert found["shown"] == len(rows) == 100
    assert rows == sorted(set(rows))
    assert 300 < np.mean(rows) < 700
    assert "1,000 points" in found["facts"]
    assert "100 of them shown" in found["facts"]


def read_picture(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Pixels of a PNG, after a look at its head."""
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with Image.open(path) as image:
        assert image.size == (WIDTH, HEIGHT)
        return np.asarray(image.convert("RGB"))


def count_near(pixels: np.ndarray[Any, np.dtype[np.uint8]], colour: tuple[int, int, int], within: int = 60) -> int:
    """Pixels that look like a colour."""
    return int((np.abs(pixels.astype(int) - colour).sum(axis=2) < within).sum())


def test_the_picture_shows_points_labels_and_legend(tmp_path: Path) -> None:
    """Colours of both categories on the map and in the legend; ink where labels are."""
    fill(tmp_path, 2000)
    write(tmp_path)
    labelled = read_picture(tmp_path / "map.png")
    (tmp_path / "clusters.json").write_text("[]")
    write(tmp_path)

    plain = read_picture(tmp_path / "map.png")

    meta = json.loads((tmp_path / "meta.json").read_text())
    for one in meta["categories"]:
        colour = (int(one["colour"][1:3], 16), int(one["colour"][3:5], 16), int(one["colour"][5:], 16))
        assert count_near(plain[100:, :-LEGEND], colour, 200) > 1000
        assert count_near(plain[100:, -LEGEND:], colour) > 100
    ink = [count_near(one[100:, :-LEGEND], (15, 23, 42)) for one in (plain, labelled)]
    assert ink[1] > ink[0] + 500


def test_upwards_is_upwards(tmp_path: Path) -> None:
    """A point with a large y is at the top, one with a large x at the right."""
    fill(tmp_path, 3)
    (tmp_path / "similarities.npy").unlink()
    np.save(tmp_path / "coordinates.npy", np.array([[0, 0], [0, 10], [10, 0]], np.float32))
    (tmp_path / "clusters.json").write_text("[]")
    write(tmp_path)

    drawn = (read_picture(tmp_path / "map.png")[100:, :-LEGEND] < 240).any(axis=2)

    rows, columns = np.nonzero(drawn)
    corners = {(bool(row < 550), bool(column < 635)) for row, column in zip(rows, columns, strict=True)}
    assert corners == {(True, True), (False, True), (False, False)}


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_few_points_are_a_map_too(tmp_path: Path, count: int, dimensions: int) -> None:
    """None, one and three points: all files are there and can be read."""
    np.save(tmp_path / "coordinates.npy", np.eye(3, dimensions, dtype=np.float32)[:count])

    sizes = write_artifacts(
        ArtifactRequest(folder=str(tmp_path), title="", method="pca", dimensions=dimensions, colour_by="source")
    )

    assert pq.read_table(tmp_path / "points.parquet").num_rows == count
    assert sizes["x.f32"] == 4 * count
    assert Page((tmp_path / "map.html").read_text()).data["shown"] == count
    read_picture(tmp_path / "map.png")


def test_points_without_a_place_are_left_out_of_pictures(tmp_path: Path) -> None:
    """Not a number in the arrays stays what it is; page and picture show the others."""
    fill(tmp_path, 20)
    coordinates = np.load(tmp_path / "coordinates.npy")
    coordinates[4] = np.nan
    coordinates[5, 0] = np.inf
    np.save(tmp_path / "coordinates.npy", coordinates)
    write(tmp_path)

    assert np.isnan(np.fromfile(tmp_path / "x.f32", "<f4")[4])
    assert Page((tmp_path / "map.html").read_text()).data["shown"] == 18
    assert "NaN" not in (tmp_path / "meta.json").read_text()
    read_picture(tmp_path / "map.png")


def test_many_categories_are_all_in_the_page_and_some_in_the_picture(tmp_path: Path) -> None:
    """300 categories: 255 with names, the others are *Other*; the legend of the picture has room for a few."""
    fill(tmp_path, 900)
    np.save(tmp_path / "of.npy", (np.arange(900) % 300).astype(np.int32))
    names = [f"folder {n}" for n in range(300)]
    (tmp_path / "categories.json").write_text(json.dumps({"names": names, "of": str(tmp_path / "of.npy")}))
    write(tmp_path)

    legend = Page((tmp_path / "map.html").read_text()).data["categories"]

    assert len(legend) == 256
    assert legend[-1] == {"index": 255, "name": "Other", "count": 135, "colour": write_colour((148, 158, 172))}
    assert (read_picture(tmp_path / "map.png")[-1] == 255).all()


def write_half(target: Path) -> None:
    """Begin to write a file, and fail."""
    with written(target) as path:
        path.write_text("half of")
        (path / "the other half").write_text("fails")


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """After an error the old file lies where it was, and nothing else."""
    target = tmp_path / "map.png"
    target.write_text("before")

    with pytest.raises(NotADirectoryError):
        write_half(target)

    assert target.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["map.png"]


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Only what is told was written, beside what was there."""
    fill(tmp_path, 30)
    before = {one.name for one in tmp_path.iterdir()}

    sizes = write(tmp_path)

    assert {one.name for one in tmp_path.iterdir()} == before | set(sizes)
    assert json.loads((tmp_path / "meta.json").read_text())["version"] == artifacts.VERSION
