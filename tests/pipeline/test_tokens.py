"""How many tokens a text and its parts have."""

from hypothesis import given, settings
from hypothesis import strategies as st

from app.pipeline.chunking.tokens import Characters, WordCounter, load_tokenizer

COUNTER = WordCounter(load_tokenizer())
TEXTS = st.text(max_size=40) | st.text(alphabet=" \n\t\xa0a.é-", max_size=40)


@settings(max_examples=1000, deadline=None)
@given(text=TEXTS, cuts=st.lists(st.integers(0, 40), min_size=2, max_size=8))
def test_a_part_measured_in_its_text_is_as_large_as_alone(text: str, cuts: list[int]) -> None:
    """Wherever a text is cut: inside a word, a gap, or before the space that belongs to the next word."""
    ends = sorted(min(cut, len(text)) for cut in cuts)
    spans = [(start, end) for start in ends for end in ends if start <= end]

    assert COUNTER.read(text).count(spans) == COUNTER.count([text[start:end] for start, end in spans])


def test_a_long_word_has_its_size_every_time() -> None:
    """Long words are not kept; asking again gives the same."""
    word = "x" * 500

    first, again = COUNTER.count([word, word]), COUNTER.count([word])

    assert first == again * 2
    assert again[0] > 10


def test_characters_are_counted() -> None:
    """Strategies that cut by characters measure so."""
    assert Characters().read("Grüße").count([(0, 5), (1, 3)]) == [5, 2]
