"""Two rankings side by side: where each document was, and where it is."""

import numpy as np
import pytest

from app.domain.comparison import Change
from app.evaluation.alignment import align_rankings
from app.evaluation.metrics import number_rankings, rank_biased_overlaps

LETTERS = "abcdefghij"


def changes(old: str, new: str) -> list[tuple[str, int | None, int | None, Change]]:
    """What has become of each letter."""
    return [(aligned.item, aligned.old, aligned.new, aligned.change) for aligned in align_rankings(old, new)]


def test_every_change_has_its_name() -> None:
    """The new ranking comes first, in its order, then what it has lost, as it was."""
    assert changes("abcdx", "acbey") == [
        ("a", 1, 1, Change.SAME),
        ("c", 3, 2, Change.UP),
        ("b", 2, 3, Change.DOWN),
        ("e", None, 4, Change.NEW),
        ("y", None, 5, Change.NEW),
        ("d", 4, None, Change.LOST),
        ("x", 5, None, Change.LOST),
    ]


@pytest.mark.parametrize(("old", "new", "expected"), [("", "", []), ("", "a", [Change.NEW]), ("a", "", [Change.LOST])])
def test_a_side_may_have_found_nothing(old: str, new: str, expected: list[Change]) -> None:
    """What the other one has is new or lost."""
    assert [change for _, _, _, change in changes(old, new)] == expected


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_forgotten_and_nothing_twice(seed: int) -> None:
    """Each item once, with its place in both rankings, whatever they are; turned around, new is lost and up is down."""
    random = np.random.default_rng(seed)
    old, new = ("".join(random.permutation(list(LETTERS))[: random.integers(0, 11)]) for _ in range(2))
    turned = {Change.UP: Change.DOWN, Change.DOWN: Change.UP, Change.NEW: Change.LOST, Change.LOST: Change.NEW}

    found, back = changes(old, new), changes(new, old)

    assert sorted(item for item, *_ in found) == sorted(set(old) | set(new))
    assert all(old[before - 1] == item for item, before, _, _ in found if before)
    assert [item for item, _, after, _ in found if after] == list(new)
    assert {item: change for item, _, _, change in back} == {
        item: turned.get(change, change) for item, _, _, change in found
    }


def score(old: str, new: str, depth: int = 10) -> float:
    """Rank-biased overlap of two rankings."""
    known: dict[str, int] = {}
    left, right = (number_rankings([side], depth=depth, known=known) for side in (old, new))
    return float(rank_biased_overlaps(left, right)[0])


def by_the_book(old: str, new: str, p: float = 0.9) -> float:
    """Equation 32 of Webber, Moffat and Zobel (2010), term by term."""
    short, long = sorted((old, new), key=len)
    s, total = len(short), len(long)
    shared = [len(set(short[:depth]) & set(long[:depth])) for depth in range(total + 1)]
    seen = sum(shared[depth] / depth * p**depth for depth in range(1, total + 1))
    guessed = sum(shared[s] * (depth - s) / (s * depth) * p**depth for depth in range(s + 1, total + 1))
    return (1 - p) / p * (seen + guessed) + ((shared[total] - shared[s]) / total + shared[s] / s) * p**total


@pytest.mark.parametrize("seed", range(50))
def test_rank_biased_overlap_is_that_of_the_paper(seed: int) -> None:
    """For rankings of any two lengths; it is the same both ways and never leaves 0 to 1."""
    random = np.random.default_rng(seed)
    old, new = ("".join(random.permutation(list(LETTERS))[: random.integers(1, 11)]) for _ in range(2))

    found = score(old, new)

    assert found == pytest.approx(by_the_book(old, new), abs=1e-12)
    assert found == pytest.approx(score(new, old), abs=1e-12)
    assert -1e-12 <= found <= 1 + 1e-12


def test_rank_biased_overlap_of_what_is_known() -> None:
    """Equal is 1, also where both are empty or short; nothing shared is 0; a change at the top counts most."""
    assert score(LETTERS, LETTERS) == pytest.approx(1)
    assert score("abc", "abc") == pytest.approx(1)
    assert (score("", ""), score("", "a"), score("abc", "xyz")) == (1, 0, 0)
    assert score("ab", "ba") == pytest.approx(0.9)
    assert score("abcdefghij", "bacdefghij") < score("abcdefghij", "abcdefghji")


def test_many_queries_at_once() -> None:
    """Each row is scored by itself."""
    known: dict[str, int] = {}
    old, new = ["abc", "", "ab", "abcd"], ["abc", "a", "ba", "dx"]
    left, right = (number_rankings(side, depth=5, known=known) for side in (old, new))

    assert rank_biased_overlaps(left, right) == pytest.approx([score(*pair) for pair in zip(old, new, strict=True)])
