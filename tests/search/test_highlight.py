"""Words of a query in a text, against the plainest way of finding them."""

from hypothesis import given
from hypothesis import strategies as st

from app.search.highlight import COMMON, WORD, find_highlights, stem

WORDS = ("wing", "Wings", "flying", "flies", "Fly", "the", "a_wing", "x1", "naïve", "nai\u0308ve", "WINGED", "winglike")
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=12).map(" ".join)
GLUED = st.lists(st.sampled_from((*WORDS, " ", "-", ".", "\n")), max_size=20).map("".join)


def look_at_each_word(text: str, query: str) -> list[tuple[int, int]]:
    """The spans of all words of the text that have the stem of one of the query's."""
    words = {match.group().casefold() for match in WORD.finditer(query)}
    wanted = {stem(word) for word in words - COMMON} or {stem(word) for word in words}
    return [match.span() for match in WORD.finditer(text) if stem(match.group()) in wanted]


@given(text=TEXTS | GLUED, query=TEXTS | GLUED)
def test_highlights_are_the_words_with_a_stem_of_the_query(text: str, query: str) -> None:
    """Whatever stands around them, however they are written."""
    assert find_highlights(text, query) == look_at_each_word(text, query)


def test_words_inside_of_words_are_no_highlights() -> None:
    """A stem in the middle of a word, and a word that only begins like one of the query's."""
    assert find_highlights("rewinging a winglike Wing", "wings") == [(21, 25)]
