"""Which generations are compared, and how two answers are put side by side."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from app.domain.collections import Collection, Generation, GenerationState
from app.domain.comparison import Change, GenerationUnknownError, NothingToCompareError
from app.domain.errors import CollectionNotReadyError, InvalidInputError
from app.search.comparison import choose_other, compare_hits
from app.search.excerpt import CHARACTERS, cut_excerpt
from tests.api.doubles import make_collection
from tests.api.generation_doubles import NOW, make_generation, make_hit

ACTIVE, RETIRED, BUILDING = GenerationState.ACTIVE, GenerationState.RETIRED, GenerationState.BUILDING
COLLECTION: Collection = make_collection(UUID(int=1), "notes")
DAY = 86_400


def generations(*states: GenerationState) -> list[Generation]:
    """Generations ``g0``, ``g1``, …, oldest first."""
    return [
        replace(make_generation(f"g{number}", state), created_at=NOW + timedelta(days=number))
        for number, state in enumerate(states)
    ]


@pytest.mark.parametrize(
    ("states", "named", "expected"),
    [
        ((RETIRED, ACTIVE), None, ("g0", "g1")),
        ((RETIRED, RETIRED, ACTIVE), None, ("g1", "g2")),
        ((RETIRED, RETIRED, ACTIVE), "g0", ("g0", "g2")),
        ((ACTIVE, RETIRED), None, ("g0", "g1")),
        ((RETIRED, ACTIVE, BUILDING), None, ("g0", "g1")),
        ((RETIRED, ACTIVE, BUILDING), "g2", ("g1", "g2")),
    ],
)
def test_the_newest_complete_one_is_compared(
    states: tuple[GenerationState, ...], named: str | None, expected: tuple[str, str]
) -> None:
    """The older one is on the left, also after a rollback; one that is being built has to be named."""
    standing = generations(*states)

    old, new = choose_other(COLLECTION, standing, named, kept_seconds=DAY)

    assert (old.name, new.name) == expected


def test_a_generation_is_named_by_its_id_too() -> None:
    """As the list of generations says both."""
    standing = generations(RETIRED, ACTIVE)

    old, _ = choose_other(COLLECTION, standing, str(standing[0].id), kept_seconds=DAY)

    assert old.name == "g0"


def test_there_may_be_nothing_to_compare_with() -> None:
    """The errors say how long replaced ones are kept, what is being built, and what there is to name."""
    with pytest.raises(NothingToCompareError, match=r"is kept for 1d$"):
        choose_other(COLLECTION, generations(ACTIVE), None, kept_seconds=DAY)
    with pytest.raises(NothingToCompareError, match="is kept for 12h; g1 is being built"):
        choose_other(COLLECTION, generations(ACTIVE, BUILDING), None, kept_seconds=DAY / 2)
    with pytest.raises(GenerationUnknownError, match=r"there are: g0, g1$"):
        choose_other(COLLECTION, generations(RETIRED, ACTIVE), "g7", kept_seconds=DAY)
    with pytest.raises(InvalidInputError, match="g1 is the generation that serves"):
        choose_other(COLLECTION, generations(RETIRED, ACTIVE), "g1", kept_seconds=DAY)
    with pytest.raises(CollectionNotReadyError):
        choose_other(COLLECTION, generations(RETIRED, BUILDING), None, kept_seconds=DAY)


def test_answers_are_aligned_by_document() -> None:
    """Chunks may be others on each side; scores are of the first ranks of both."""
    whale, squid, ship = (make_hit(number, f"{number}.md") for number in (1, 2, 3))
    risen = replace(squid, rank=1, score=0.7, chunk_id=UUID(int=5), text="another chunk")

    found = compare_hits("q", [whale, squid], [risen, replace(ship, rank=2)], depth=10)

    assert [(hit.hit.path, hit.change) for hit in found.hits] == [
        ("2.md", Change.UP),
        ("3.md", Change.NEW),
        ("1.md", Change.LOST),
    ]
    assert found.hits[0].old is not None
    assert (found.hits[0].old.text, found.hits[0].hit.text) == ("a whale", "another chunk")
    assert found.overlap == 0.5
    assert found.rank_biased_overlap is not None
    assert 0 < found.rank_biased_overlap < 1


def test_equal_scores_are_no_change() -> None:
    """They come in any order, which says nothing about a generation; what does not fit any more is left out."""
    first, *tied = (replace(make_hit(rank, f"{rank}.md"), score=0.5 if rank > 1 else 0.9) for rank in range(1, 7))
    turned = [replace(hit, rank=rank) for rank, hit in enumerate(reversed(tied), 2)]

    found = compare_hits("q", [first, *tied], [first, *turned], depth=4)

    assert [hit.change for hit in found.hits] == [Change.SAME] * 4
    assert [hit.hit.rank for hit in found.hits] == [1, 2, 3, 4]
    assert found.overlap == 1


def test_a_side_that_was_not_asked_changes_nothing() -> None:
    """Its hits are none, which is no finding; what the other one has is shown."""
    whale = make_hit(1, "1.md")

    [new] = compare_hits("q", None, [whale], depth=10).hits
    lost = compare_hits("q", [whale], None, depth=10)

    assert (new.change, new.old, new.hit.path) == (None, None, "1.md")
    assert (lost.hits[0].change, lost.hits[0].new, lost.overlap, lost.rank_biased_overlap) == (None, None, None, None)


def test_an_answer_of_neither_is_full_agreement() -> None:
    """Both have found nothing, and so the same."""
    found = compare_hits("q", [], [], depth=10)

    assert (found.overlap, found.rank_biased_overlap, found.hits) == (1, 1, [])


@pytest.mark.parametrize("place", [0, 1, 200, 5000, 9990])
def test_an_excerpt_holds_the_marked_words(place: int) -> None:
    """Spans still mark them, and ``start`` and ``end`` say where in the document the part stands."""
    text = f"{'x' * place} whale {'y' * (10_000 - place)}"
    hit = replace(make_hit(1, "a.md", text), start=70, end=70 + len(text), highlights=[(place + 1, place + 6)])

    cut = cut_excerpt(hit)

    assert len(cut.text) == CHARACTERS == cut.end - cut.start
    assert [cut.text[begin:end] for begin, end in cut.highlights] == ["whale"]
    assert text[cut.start - 70 : cut.end - 70] == cut.text


def test_an_excerpt_is_where_most_words_are() -> None:
    """Three words near each other count more than one at the beginning."""
    text = f"whale {'x' * 1000} whale whale whale {'y' * 1000}"
    spans = [(0, 5), (1007, 1012), (1013, 1018), (1019, 1024)]

    cut = cut_excerpt(replace(make_hit(1, "a.md", text), highlights=spans))
    whole = cut_excerpt(make_hit(1, "a.md", "a whale"))

    assert cut.text.count("whale") == len(cut.highlights) == 3
    assert whole.text == "a whale"
