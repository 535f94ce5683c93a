"""What an edit costs: chunks whose text is new must be embedded, all others are kept."""

import random
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.documents import Chunking
from app.pipeline.chunk import TextKind, chunk_text

ROOT = Path(__file__).resolve().parents[2]
CASES = [(kind, overlap) for kind in (TextKind.PROSE, TextKind.MARKDOWN) for overlap in (0, 10)]
WORDS = ["whale", "sings", "deep.", "Blue", "of", "humpbacks,"]


def _read_prose() -> str:
    """The pages of this project, about 500 chunks of 64 tokens."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return "\n\n".join(page.read_text() for page in pages)[:90_000]


def _count_new(before: str, after: str, chunking: Chunking, kind: TextKind) -> int:
    known = {chunk.text for chunk in chunk_text(before, chunking, kind=kind)}
    return len({chunk.text for chunk in chunk_text(after, chunking, kind=kind)} - known)


@pytest.mark.parametrize(("kind", "overlap"), CASES)
def test_a_paragraph_at_the_top_costs_one_or_two_chunks(kind: TextKind, overlap: int) -> None:
    """Paragraphs of all lengths at the top of a document of 500 chunks."""
    text, chunking = _read_prose(), Chunking(size=64, overlap=overlap)
    paragraphs = text.split("\n\n")

    costs = []
    for number in range(30):
        before = "\n\n".join(paragraphs[number * 5 :])
        added = "A word about what follows was missing here. " * (1 + number % 3)
        costs.append(_count_new(before, f"{added}\n\n{before}", chunking, kind))

    assert len(chunk_text(text, chunking, kind=kind)) > 450
    assert mean(costs) <= 2, costs
    assert max(costs) <= 4, costs


@pytest.mark.parametrize(("kind", "overlap"), CASES)
def test_an_edit_anywhere_costs_a_handful_of_chunks(kind: TextKind, overlap: int) -> None:
    """Paragraphs inserted, deleted and replaced in 60 places of a document of 500 chunks."""
    text, chunking = _read_prose(), Chunking(size=64, overlap=overlap)
    paragraphs = text.split("\n\n")
    places = random.Random(7).sample(range(len(paragraphs)), 60)  # noqa: S311 — places, not secrets

    costs = []
    for number, place in enumerate(places):
        edited = list(paragraphs)
        edited[place : place + number % 2] = [f"Paragraph {number} is new."] * (number % 3 > 0)
        costs.append(_count_new(text, "\n\n".join(edited), chunking, kind))

    # the pages grow with the project, and a list of links is cut anew as a whole
    assert max(costs) <= 16, costs
    assert mean(costs) <= 3
    assert sorted(costs)[len(costs) * 9 // 10] <= 6


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), place=st.floats(0, 1), added=st.integers(0, 80), overlap=st.sampled_from([0, 10]))
def test_an_edit_of_any_document_costs_few_chunks(seed: int, place: float, added: int, overlap: int) -> None:
    """Whatever the document, a paragraph replaced by one of another length leaves nearly all chunks as they were."""
    random_words = random.Random(seed)  # noqa: S311 — a document, not a secret
    paragraphs = [
        " ".join(random_words.choices(WORDS, k=random_words.randint(3, 90))) + f" {number}." for number in range(400)
    ]
    edited = list(paragraphs)
    edited[int(place * 399)] = " ".join(f"new{number}" for number in range(added))
    chunking = Chunking(size=80, overlap=overlap)

    cost = _count_new("\n\n".join(paragraphs), "\n\n".join(edited), chunking, TextKind.PROSE)

    # the new paragraph has three tokens a word at most, and so needs four or five chunks itself
    assert cost <= 5 + 8


@pytest.mark.parametrize(("kind", "overlap"), CASES)
def test_chunks_are_well_filled(kind: TextKind, overlap: int) -> None:
    """The mean chunk has more than 68 % of the tokens it may have, and hardly any less than a quarter."""
    chunks = chunk_text(_read_prose(), Chunking(size=400, overlap=overlap * 4), kind=kind)

    sizes = sorted(chunk.tokens for chunk in chunks)
    assert mean(sizes) > 400 * 0.68
    assert sizes[len(sizes) // 20] > 100
    assert sizes[-1] <= 400


def test_a_very_long_document_is_as_stable() -> None:
    """Very long documents are cut into pieces first; a line at the top moves few of their chunks either."""
    pages = _read_prose()
    text = "\n\n".join(f"Part {number}.\n\n{pages}" for number in range(20))

    cost = _count_new(text, f"One line more.\n\n{text}", Chunking(), TextKind.PROSE)

    assert len(text) > 1_500_000
    assert cost <= 8
