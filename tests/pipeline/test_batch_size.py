"""What refusals teach about the size of a request."""

from app.pipeline.batch_size import BatchSize


def test_a_refusal_lowers_the_bound_for_good_once_both_halves_pass() -> None:
    """Until then the bound is lowered on suspicion."""
    size = BatchSize(max_texts=100, max_tokens=10_000)
    split = size.suspect(100, 3000)
    suspected = size.max_texts

    size.accept(50, split)
    size.accept(50, split)

    assert suspected == 50
    assert (size.max_texts, size.max_tokens) == (50, 10_000)


def test_a_bad_text_teaches_nothing() -> None:
    """A half that is refused for itself lifts the suspicion."""
    size = BatchSize(max_texts=100, max_tokens=10_000)
    split = size.suspect(8, 300)

    size.accept(4, split)
    size.forget(split)

    assert size.max_texts == 100


def test_what_passed_with_as_many_texts_was_refused_for_its_tokens() -> None:
    """Then fewer tokens are sent, not fewer texts."""
    size = BatchSize(max_texts=100, max_tokens=10_000)
    size.accept(100, None)
    split = size.suspect(60, 9000)

    size.accept(30, split)
    size.accept(30, split)

    assert (size.max_texts, size.max_tokens) == (100, 4500)
