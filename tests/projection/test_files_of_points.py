"""Points as they are fetched, found and read again, and the folders they lie in."""

import gzip
import time
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest

from app.domain.projections import ProjectionPointNotFoundError
from app.projection.before import write_initial, write_moves
from app.projection.compressed import compress_files
from app.projection.folders import ProjectionFolder
from app.projection.points_file import PointsWriter, RowIndex, find_rows, read_ids, to_ids, to_uuids
from app.projection.reading import read_points, select_ids, select_inside, select_neighbours

MARKER = "a1b2"


def write_points(folder: Path, ids: list[UUID], coordinates: list[list[float]]) -> None:
    """A finished projection, as far as its points are read."""
    folder.mkdir(parents=True, exist_ok=True)
    with PointsWriter(folder, width=2) as writer:
        writer.add(ids, ids, np.ones((len(ids), 2), dtype=np.float32))
        writer.finish()
    np.save(folder / "coordinates.npy", np.array(coordinates, dtype=np.float32).reshape(len(ids), -1))
    np.save(folder / "clusters.npy", np.arange(-1, len(ids) - 1, dtype=np.int32))
    np.save(folder / "neighbours.npy", np.tile(np.arange(15, dtype=np.int32) % max(1, len(ids)), (len(ids), 1)))
    np.linspace(0, 1, len(ids), dtype="<f4").tofile(folder / "trust.f32")
    np.zeros(len(ids), dtype=np.uint8).tofile(folder / "placed.u8")


def test_vectors_are_of_length_one_whatever_number_there_is(tmp_path: Path) -> None:
    """The file is read as any other; a row without numbers stays one, a row of zeros too."""
    pages: list[list[list[float]]] = [[[3, 4], [0, 0]], [[np.nan, 1], [1e-30, 0], [-2, 0]]]

    with PointsWriter(tmp_path, width=2) as writer:
        for page in pages:
            ids = [uuid4() for _ in page]
            writer.add(ids, ids, np.array(page, dtype=np.float32))
        writer.finish()

    vectors = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    assert (writer.rows, writer.invalid, vectors.dtype) == (5, 1, np.float32)
    assert np.allclose(vectors[[0, 1, 4]], np.array([(0.6, 0.8), (0, 0), (-1, 0)]))
    assert np.isnan(vectors[2]).any()
    assert np.isfinite(vectors[3]).all()


def test_no_points_are_files_too(tmp_path: Path) -> None:
    """Of nothing."""
    with PointsWriter(tmp_path, width=7) as writer:
        writer.finish()

    assert np.load(tmp_path / "vectors.npy").shape == (0, 7)
    assert len(read_ids(tmp_path / "ids.bin")) == 0


def test_rows_are_found_by_ids() -> None:
    """Also of ids that end with zeros, that are asked for twice, or that there are not."""
    known = [UUID(int=5 << 64), UUID(int=256), UUID(int=1), UUID(int=0), UUID(int=7)]
    wanted = [UUID(int=0), UUID(int=5 << 64), UUID(int=9), UUID(int=5 << 64), UUID(int=256)]

    rows = find_rows(to_ids(known), to_ids(wanted))

    assert rows.tolist() == [3, 0, -1, 0, 1]
    assert find_rows(to_ids([]), to_ids(wanted)).tolist() == [-1] * 5
    assert find_rows(to_ids(known), to_ids([])).tolist() == []
    assert to_uuids(to_ids(known)) == known


@pytest.mark.parametrize("in_order", [False, True])
def test_an_index_finds_the_same_rows(in_order: bool) -> None:  # noqa: FBT001 — a parameter of the test
    """Whether ids come in order or not."""
    known = [UUID(int=5 << 64), UUID(int=256), UUID(int=1), UUID(int=0), UUID(int=7)]
    known = sorted(known) if in_order else known
    wanted = [UUID(int=0), UUID(int=5 << 64), UUID(int=9), UUID(int=5 << 64), UUID(int=(1 << 128) - 1)]

    index = RowIndex(to_ids(known))

    assert index.find(to_ids(wanted)).tolist() == find_rows(to_ids(known), to_ids(wanted)).tolist()
    assert index.find(to_ids([])).tolist() == []
    assert RowIndex(to_ids([])).find(to_ids(wanted)).tolist() == [-1] * 5


def test_a_lasso_takes_what_is_inside(tmp_path: Path) -> None:
    """By the even-odd rule, so that the middle of a ring that crosses itself is outside."""
    ids = [uuid4() for _ in range(4)]
    write_points(tmp_path, ids, [[1, 1], [3, 3], [0.2, 0.9], [9, 9]])
    triangle, ring = (
        [(0, 0), (4, 0), (4, 4)],
        [(0, 0), (6, 0), (6, 6), (0, 6), (0, 0), (2, 2), (2, 4), (4, 4), (4, 2), (2, 2)],
    )

    total, rows = select_inside(tmp_path, [(x, y - 0.1) for x, y in triangle] + [(0, 0.5)], limit=1)

    assert (total, rows.tolist()) == (2, [0])
    assert select_inside(tmp_path, ring, limit=9)[1].tolist() == [0, 2]


def test_points_are_read_in_the_order_they_are_asked_for(tmp_path: Path) -> None:
    """With all that is known of them; noise is in no cluster."""
    ids = [uuid4() for _ in range(3)]
    write_points(tmp_path, ids, [[1, 2, 3], [4, 5, 6], [7, 8, 9]])

    rows = select_ids(tmp_path, [ids[2], uuid4(), ids[0]])
    points = read_points(tmp_path, rows)

    assert [point.id for point in points] == [ids[2], ids[0]]
    assert [point.cluster for point in points] == [1, None]
    assert points[0].place == (7.0, 8.0, 9.0)
    assert [point.trust for point in points] == [1.0, 0.0]


def test_neighbours_are_others(tmp_path: Path) -> None:
    """A point is no neighbour of itself, and one that there is not has none."""
    ids = [uuid4() for _ in range(20)]
    write_points(tmp_path, ids, [[one, 0] for one in range(20)])

    assert select_neighbours(tmp_path, ids[3]).tolist() == [one for one in range(15) if one != 3]
    with pytest.raises(ProjectionPointNotFoundError):
        select_neighbours(tmp_path, uuid4())


def test_a_map_begins_where_the_one_before_has_its_points(tmp_path: Path) -> None:
    """New points have no place there, and how far known ones move is written down."""
    ids = [uuid4() for _ in range(8)]
    before, now = tmp_path / "before", tmp_path / "now"
    write_points(before, ids[:6], [[one, one] for one in range(6)])
    write_points(now, ids[::-1], [[0, 0]] * 8)

    common = write_initial(str(now), str(before))
    write_moves(str(now))

    initial = np.load(now / "initial.npy")
    assert common == 6
    assert np.isnan(initial[:2]).all()
    assert initial[2:, 0].tolist() == [5, 4, 3, 2, 1, 0]
    assert np.allclose(np.fromfile(now / "moved.f32", dtype="<f4")[2:], np.arange(5, -1, -1) * 2**0.5)


def test_a_map_does_not_begin_from_another_one(tmp_path: Path) -> None:
    """Nor from one whose files are gone."""
    write_points(tmp_path / "before", [uuid4() for _ in range(8)], [[0, 0]] * 8)
    write_points(tmp_path / "now", [uuid4() for _ in range(8)], [[0, 0]] * 8)

    assert write_initial(str(tmp_path / "now"), str(tmp_path / "before")) == 0
    assert write_initial(str(tmp_path / "now"), str(tmp_path / "nowhere")) == 0
    assert not (tmp_path / "now" / "initial.npy").exists()


def test_copies_are_kept_where_they_are_smaller(tmp_path: Path) -> None:
    """Of files that browsers read, but those that will be removed."""
    noise, long = np.random.default_rng(0).bytes(5000), b"{}" * 5000
    files = {"a.json": long, "b.f32": noise, "c.png": long, "d.html": b"small", "vectors.npy": long}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    compress_files(str(tmp_path), leave=("vectors.npy",))

    assert [path.name for path in tmp_path.glob("*.gz")] == ["a.json.gz"]
    assert gzip.decompress((tmp_path / "a.json.gz").read_bytes()) == b"{}" * 5000


def test_a_folder_has_its_name_once_all_is_in_it(tmp_path: Path) -> None:
    """What an attempt before has left goes when the next one begins."""
    place, collection, projection = ProjectionFolder(tmp_path), uuid4(), uuid4()
    first = place.begin(MARKER, collection, projection, attempt=uuid4().hex)
    (first / "vectors.npy").write_bytes(b"half")

    attempt = uuid4().hex
    second = place.begin(MARKER, collection, projection, attempt=attempt)
    (second / "x.f32").write_bytes(b"whole")
    final = place.publish(MARKER, collection, projection, attempt=attempt)

    assert not first.exists()
    assert not second.exists()
    assert final == place.path_of(MARKER, collection, projection)
    assert (final / "x.f32").read_bytes() == b"whole"


def test_folders_are_listed_and_removed(tmp_path: Path) -> None:
    """Those of one installation; other files are nobody's business."""
    place, collection, projection = ProjectionFolder(tmp_path), uuid4(), uuid4()
    place.begin("ffff", collection, projection, attempt=uuid4().hex)
    attempt = uuid4().hex
    place.begin(MARKER, collection, projection, attempt=attempt)
    (tmp_path / MARKER / collection.hex / "notes").mkdir()

    (listed,) = place.list_all(MARKER)
    place.remove(MARKER, collection, projection)

    assert (listed.projection_id, listed.attempt) == (projection, attempt)
    assert abs(listed.modified - time.time()) < 60
    assert list(place.list_all(MARKER)) == []
    assert len(list(place.list_all("ffff"))) == 1
    place.remove_collection("ffff", collection)
    assert list(place.list_all("ffff")) == []


def test_names_lead_nowhere_else(tmp_path: Path) -> None:
    """They come from rows, and are looked at all the same."""
    place = ProjectionFolder(tmp_path)

    with pytest.raises(ValueError, match="attempt"):
        place.path_of(MARKER, uuid4(), uuid4(), attempt="../../x")
    with pytest.raises(ValueError, match="marker"):
        place.path_of("..", uuid4(), uuid4())


def test_files_have_their_names_once_they_are_whole(tmp_path: Path) -> None:
    """Who asks for them early gets all or nothing."""
    with PointsWriter(tmp_path, width=2) as writer:
        writer.add([uuid4()], [uuid4()], np.ones((1, 2), dtype=np.float32))
        assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
        writer.finish()
    assert {path.name for path in tmp_path.iterdir()} == {"vectors.npy", "ids.bin", "documents.bin"}


def test_vectors_of_any_length_become_as_long_as_one(tmp_path: Path) -> None:
    """Also where the square of a number is too large for float32."""
    with PointsWriter(tmp_path, width=2) as writer:
        vectors = np.array([[3e30, 4e30], [3e-30, 4e-30]], dtype=np.float32)
        writer.add([uuid4(), uuid4()], [uuid4(), uuid4()], vectors)
        writer.finish()
    assert writer.invalid == 0
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), [[0.6, 0.8]] * 2, rtol=1e-6)
