"""Chunks on a map of other chunks, against the same looked at pair by pair."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.projection.before import INITIAL, write_initial
from app.projection.overlapping import SPANS, UNKNOWN, CutDocuments, place_over, read_cut
from app.projection.points_file import DOCUMENTS, IDS

Floats = NDArray[np.float32]


def cut(seed: int, *, documents: int, size: int, overlap: int, length: int = 900) -> CutDocuments:
    """Chunks of about one size, in an order of chance, some of whose places nobody knows."""
    random = np.random.default_rng(seed)
    rows = []
    for document in range(documents):
        start = 0
        while start < length:
            end = min(length, start + int(random.integers(size // 2, size + 1)))
            rows.append((document, start, end) if random.random() > 0.05 else (document, UNKNOWN, UNKNOWN))
            if end == length:
                break
            start = max(start + 1, end - overlap)
    random.shuffle(rows)
    ids = np.array([bytes([row[0] % 7]) * 15 + bytes([row[0] + 1]) for row in rows], dtype="S16")
    return CutDocuments(documents=ids, spans=np.array([row[1:] for row in rows], dtype=np.int32))


def look_at_each_pair(old: CutDocuments, places: Floats, new: CutDocuments) -> Floats:
    """The definition."""
    found: Floats = np.full((len(new.spans), places.shape[1]), np.nan, dtype=np.float32)
    for row, (start, end) in enumerate(new.spans.tolist()):
        weights = np.zeros(len(old.spans))
        for other, (begin, stop) in enumerate(old.spans.tolist()):
            same = old.documents[other] == new.documents[row] and UNKNOWN not in (start, begin)
            if same and np.isfinite(places[other]).all():
                weights[other] = max(0, min(end, stop) - max(start, begin))
        if weights.sum():
            found[row] = weights[weights > 0] @ places[weights > 0] / weights.sum()
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("sizes", "overlaps"), [((200, 60), (20, 0)), ((40, 300), (0, 90)), ((120, 120), (60, 60))])
def test_places_are_means_of_what_overlaps(seed: int, sizes: tuple[int, int], overlaps: tuple[int, int]) -> None:
    """Whatever is cut how, also where a chunk has no place or its document is new or gone."""
    old = cut(seed, documents=12, size=sizes[0], overlap=overlaps[0])
    new = cut(seed + 100, documents=14, size=sizes[1], overlap=overlaps[1])
    places: Floats = np.random.default_rng(seed).normal(size=(len(old.spans), 2)).astype(np.float32)
    places[::17] = np.nan

    found = place_over(old, places, new)

    np.testing.assert_allclose(found, look_at_each_pair(old, places, new), atol=1e-5)
    assert np.isnan(found).any()
    assert np.isfinite(found).any()


def test_chunks_inside_of_a_longer_one_are_found() -> None:
    """One that ends before an earlier one does."""
    ids = np.array([b"a" * 16] * 3, dtype="S16")
    old = CutDocuments(documents=ids, spans=np.array([[0, 100], [10, 20], [50, 60]], dtype=np.int32))
    places: Floats = np.array([[0, 0], [1, 1], [8, 8]], dtype=np.float32)
    new = CutDocuments(documents=ids[:2], spans=np.array([[90, 95], [10, 20]], dtype=np.int32))

    assert place_over(old, places, new).tolist() == [[0, 0], [0.5, 0.5]]


def test_nothing_lies_over_nothing() -> None:
    """On either side."""
    empty = CutDocuments(documents=np.empty(0, dtype="S16"), spans=np.empty((0, 2), dtype=np.int32))
    some = cut(1, documents=2, size=100, overlap=0)
    nowhere: Floats = np.empty((0, 3), dtype=np.float32)

    assert np.isnan(place_over(empty, nowhere, some)).all()
    assert place_over(some, np.zeros((len(some.spans), 3), dtype=np.float32), empty).shape == (0, 3)


def _keep(folder: Path, cut_documents: CutDocuments, ids: NDArray[np.bytes_], places: Floats | None) -> None:
    folder.mkdir()
    (folder / DOCUMENTS).write_bytes(cut_documents.documents.tobytes())
    (folder / IDS).write_bytes(ids.tobytes())
    cut_documents.spans.astype("<i4").tofile(folder / SPANS)
    if places is not None:
        np.save(folder / "coordinates.npy", places)


def test_a_map_of_another_cut_is_begun_from(tmp_path: Path) -> None:
    """Where no point has the id of one before; one that was made before spans were kept is not."""
    old, new = (cut(seed, documents=30, size=size, overlap=10) for seed, size in ((1, 200), (2, 80)))
    places: Floats = np.random.default_rng(3).normal(size=(len(old.spans), 2)).astype(np.float32)
    for name, each, there in (("old", old, places), ("new", new, None)):
        ids = np.array([f"{name}{row:013}".encode() for row in range(len(each.spans))], dtype="S16")
        _keep(tmp_path / name, each, ids, there)

    common = write_initial(str(tmp_path / "new"), str(tmp_path / "old"))

    expected = look_at_each_pair(old, places, new)
    np.testing.assert_allclose(np.load(tmp_path / "new" / INITIAL), expected, atol=1e-5)
    assert common == np.isfinite(expected).all(axis=1).sum()
    assert len(read_cut(tmp_path / "old").spans) == len(old.spans)
    (tmp_path / "old" / SPANS).unlink()
    assert write_initial(str(tmp_path / "new"), str(tmp_path / "old")) == 0
