"""Where nobody has judged anything, queries are made of documents."""

from uuid import UUID, uuid4

from app.db.validation import Piece, TextDocument
from app.domain.benchmark_datasets import MOST_JUDGMENTS, MOST_QUERIES, DatasetFormat
from app.pipeline.validation.synthetic import make_synthetic


def document(title: str, text: str) -> TextDocument:
    """A document of one chunk."""
    piece = Piece(id=uuid4(), start=0, end=len(text), text=text, headings=(), parent_start=None, parent_end=None)
    return TextDocument(
        id=uuid4(), path="a.txt", title=title, mime_type="text/plain", is_record=False, is_whole=True, pieces=(piece,)
    )


def test_queries_are_made_of_documents() -> None:
    """Title, first sentence and rare words lead to their document, which is named by its id."""
    whales = document("Whales and ships", "Whales swim beside large ships. They breathe air.")
    rockets = document("Rockets burning fuel", "Rockets leave the atmosphere. They burn fuel.")
    content = make_synthetic([whales, rockets])

    found = {query.text: [UUID(judged.doc) for judged in query.relevant] for query in content.queries}
    assert content.format is DatasetFormat.SYNTHETIC
    assert found["Whales and ships"] == [whales.id]
    assert found["Rockets leave the atmosphere."] == [rockets.id]
    assert {judged.grade for query in content.queries for judged in query.relevant} == {1}
    assert len({query.query_id for query in content.queries}) == len(content.queries) == 6
    assert content.source.endswith("(2 documents)")


def test_documents_with_the_same_title_answer_together() -> None:
    """A title that most of them have is no query at all."""
    twins = [document("Annual report", f"Profit number{number}x rises.") for number in "ab"]
    same = [document("Untitled document", f"Other words {'abcdefghij'[n % 10] * (4 + n)}.") for n in range(101)]
    content = make_synthetic([*twins, *same])

    found = {query.text: {judged.doc for judged in query.relevant} for query in content.queries}
    assert found["Annual report"] == {str(twin.id) for twin in twins}
    assert "Untitled document" not in found
    assert content.notes == (f"1 queries were left out, for each was made of more than {MOST_JUDGMENTS} documents",)


def test_no_more_queries_than_a_dataset_has() -> None:
    """Whatever the number of documents."""
    words = [f"{'abcdefghij'[n % 10] * (4 + n // 10)}" for n in range(1200)]
    content = make_synthetic([document(f"Title {word}", f"Text about {word}.") for word in words])

    assert len(content.queries) == MOST_QUERIES
    assert "1000 are the most" in content.notes[0]
