"""What is written can be read again, by us and by the tools of the field."""

import io
import zipfile
from pathlib import Path
from typing import Any

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.benchmark_datasets import DatasetContent, DatasetFormat, DatasetQuery, JudgedDocument
from app.evaluation.datasets.parse import parse_dataset
from app.evaluation.datasets.write import write_archive, write_dataset, write_qrels

WRITTEN = (DatasetFormat.BEIR, DatasetFormat.TREC, DatasetFormat.JSON)
WORDS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=9)

contents = st.dictionaries(
    st.text(st.characters(categories=("L", "N")), min_size=1, max_size=5),
    st.tuples(WORDS, st.dictionaries(WORDS, st.integers(-2, 4), min_size=1, max_size=4)),
    min_size=1,
    max_size=5,
).map(
    lambda queries: DatasetContent(
        format=DatasetFormat.JSON,
        queries=tuple(
            DatasetQuery(
                query_id=name,
                text=text,
                relevant=tuple(JudgedDocument(doc=doc, grade=grade) for doc, grade in judged.items()),
            )
            for name, (text, judged) in queries.items()
        ),
    )
)


@given(contents)
def test_what_is_written_is_read_again(content: DatasetContent) -> None:
    """In all formats, in the same order."""
    read = [parse_dataset(write_dataset(content, wanted)) for wanted in WRITTEN]

    assert [each.queries for each in read] == [content.queries] * 3
    assert tuple(each.format for each in read) == WRITTEN


def test_columns_hold_names_with_spaces() -> None:
    """White space is percent-encoded where it would end a column; JSON and texts of BEIR keep it."""
    query = DatasetQuery(
        query_id="1", text="two\tlines\nof text", relevant=(JudgedDocument(doc="annual report\t1.pdf", grade=1),)
    )
    content = DatasetContent(format=DatasetFormat.JSON, queries=(query,))
    beir, trec, plain = (parse_dataset(write_dataset(content, wanted)).queries[0] for wanted in WRITTEN)

    assert plain == query
    assert (beir.text, trec.text) == (query.text, "two lines of text")
    assert beir.relevant == trec.relevant == (JudgedDocument(doc="annual%20report%091.pdf", grade=1),)


def test_qrels_are_those_that_the_tools_read(tmp_path: Path) -> None:
    """ir-measures reads the same judgments."""
    judged = (JudgedDocument(doc="a b", grade=2), JudgedDocument(doc="c", grade=-1))
    content = DatasetContent(
        format=DatasetFormat.JSON, queries=(DatasetQuery(query_id="q1", text="whales", relevant=judged),)
    )
    (tmp_path / "qrels").write_bytes(write_qrels(content))

    # it has no types
    read_trec_qrels: Any = ir_measures.read_trec_qrels
    rows = [(row.query_id, row.doc_id, row.relevance) for row in read_trec_qrels(str(tmp_path / "qrels"))]
    assert rows == [("q1", "a%20b", 2), ("q1", "c", -1)]


@pytest.mark.parametrize("wanted", [DatasetFormat.BEIR, DatasetFormat.TREC])
def test_an_archive_has_the_files(wanted: DatasetFormat) -> None:
    """The same content is the same archive."""
    query = DatasetQuery(query_id="1", text="whales", relevant=(JudgedDocument(doc="a", grade=1),))
    content = DatasetContent(format=DatasetFormat.JSON, queries=(query,))
    archive = write_archive(content, wanted)
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}

    assert files == write_dataset(content, wanted)
    assert write_archive(content, wanted) == archive
