"""Where the points of a map were on the one before."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.projection.before import INITIAL, write_initial
from app.projection.overlapping import SPANS
from app.projection.points_file import DOCUMENTS, IDS

LENGTH = 1200


def name_of(*parts: object) -> bytes:
    """Sixteen bytes of their own for each."""
    return ":".join(map(str, parts)).encode().ljust(16, b".")


def keep_map(folder: Path, *, size: int, short: int, long: int) -> NDArray[np.float32]:
    """Files of a map on which everything lies where its middle is in its document; gives the places.

    Short documents are one chunk of every size; a long one is cut.
    """
    rows = [(f"s{number}", 0, 50) for number in range(short)]
    rows += [(f"l{number}", start, start + size) for number in range(long) for start in range(0, LENGTH, size)]
    folder.mkdir()
    (folder / IDS).write_bytes(b"".join(name_of(*row) for row in rows))
    (folder / DOCUMENTS).write_bytes(b"".join(name_of(document) for document, _, _ in rows))
    np.array([row[1:] for row in rows], dtype="<i4").tofile(folder / SPANS)
    places = np.array([(int(name[1:]), (start + end) / 2) for name, start, end in rows], dtype=np.float32)
    np.save(folder / "coordinates.npy", places)
    return places


@pytest.mark.parametrize("short", [0, 1, 20, 200])
def test_chunks_of_another_size_have_places_however_many_are_the_same(tmp_path: Path, short: int) -> None:
    """Documents of one chunk keep its id whatever the size; the chunks of long ones have others."""
    keep_map(tmp_path / "old", size=100, short=short, long=20)
    places = keep_map(tmp_path / "new", size=300, short=short, long=20)

    common = write_initial(str(tmp_path / "new"), str(tmp_path / "old"))

    assert common == len(places)
    np.testing.assert_allclose(np.load(tmp_path / "new" / INITIAL), places)


def test_documents_that_came_have_no_place(tmp_path: Path) -> None:
    """Those that went are not missed."""
    keep_map(tmp_path / "old", size=100, short=30, long=10)
    places = keep_map(tmp_path / "new", size=300, short=20, long=15)

    common = write_initial(str(tmp_path / "new"), str(tmp_path / "old"))

    found = np.load(tmp_path / "new" / INITIAL)
    chunks = LENGTH // 300
    assert common == 20 + 10 * chunks
    np.testing.assert_allclose(found[:common], places[:common])
    assert np.isnan(found[common:]).all()


def test_a_map_from_before_spans_were_kept_gives_what_is_the_same(tmp_path: Path) -> None:
    """And nothing else."""
    keep_map(tmp_path / "old", size=100, short=30, long=10)
    places = keep_map(tmp_path / "new", size=300, short=30, long=10)
    (tmp_path / "old" / SPANS).unlink()

    assert write_initial(str(tmp_path / "new"), str(tmp_path / "old")) == 30
    found = np.load(tmp_path / "new" / INITIAL)
    np.testing.assert_allclose(found[:30], places[:30])
    assert np.isnan(found[30:]).all()
