"""Benchmark datasets are read in all formats, and what is wrong with them is said with file and line."""

from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.benchmark_datasets import (
    LONGEST_QUERY,
    MOST_JUDGMENTS,
    MOST_QUERIES,
    DatasetContent,
    DatasetFormat,
    DatasetTooLargeError,
    InvalidDatasetError,
)
from app.evaluation.datasets.parse import parse_dataset

CRANFIELD = Path(__file__).resolve().parents[3] / "shared" / "data" / "cranfield"
QUERIES = b'{"_id": "1", "text": "whales"}\n{"_id": 2, "text": " rockets "}\n{"_id": "3", "text": "bread"}\n'
QRELS = b"query-id\tcorpus-id\tscore\n1\ta.md\t2\n1\tb.md\t0\n2\tc d.md\t1\n"
TOPICS = b"""<top>
<num> Number: 301
<title> Whales &amp;
  ships

<desc> Description:
Which ships <b>meet</b> whales?
</top>
<top><num>302</num><title>Topic: rockets</title><narr>none</narr></top>
"""


def said(content: DatasetContent) -> dict[str, tuple[str, dict[str, int]]]:
    """Text and grades of each query by its id."""
    return {
        query.query_id: (query.text, {judged.doc: judged.grade for judged in query.relevant})
        for query in content.queries
    }


def plain(*queries: object, version: object = 1) -> dict[str, bytes]:
    """The files of a dataset in JSON."""
    return {"d.json": orjson.dumps({"schema_version": version, "queries": queries})}


def beir(queries: bytes = QUERIES, qrels: bytes = QRELS) -> dict[str, bytes]:
    """The files of a dataset as BEIR lays them out."""
    return {"queries.jsonl": queries, "qrels/test.tsv": qrels}


def refusal(files: Mapping[str, bytes], split: str | None = None) -> str:
    """Why it is not taken."""
    with pytest.raises(InvalidDatasetError) as refused:
        parse_dataset(files, split)
    return refused.value.message


# --- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [True, False])
def test_beir_has_queries_and_judgments(header: bool) -> None:  # noqa: FBT001 — a parameter of the test
    """With or without a header; queries without judgments are left out, and counted; the corpus is not read."""
    qrels = QRELS if header else QRELS.partition(b"\n")[2]
    content = parse_dataset({**beir(qrels=qrels), "corpus.jsonl": b"\xff", "README.md": b"\xff"})

    assert content.format is DatasetFormat.BEIR
    assert said(content) == {"1": ("whales", {"a.md": 2, "b.md": 0}), "2": ("rockets", {"c d.md": 1})}
    assert content.notes == ("1 queries have no judgments and are left out",)
    assert (content.source, content.judgments) == ("queries.jsonl, qrels/test.tsv", 3)


def test_trec_has_topics_in_tags() -> None:
    """Tags that are never closed, labels and entities are those of TREC; grades may be negative."""
    content = parse_dataset({"topics.301-302": TOPICS, "qrels.trec": b"301 0 FT-1  1\n302\tQ0\tFT-2\t-2\n"})

    assert content.format is DatasetFormat.TREC
    assert said(content) == {"301": ("Whales & ships", {"FT-1": 1}), "302": ("rockets", {"FT-2": -2})}
    assert content.notes == ("1 queries have no relevant document",)


def test_trec_has_topics_in_lines() -> None:
    """An id, a tab, a text."""
    content = parse_dataset({"x/test.topics.tsv": b"q1\twhales in\tships\n", "x/test.qrels": b"q1 0 a 1\n"})

    assert said(content) == {"q1": ("whales in\tships", {"a": 1})}


def test_json_has_queries_with_their_judgments() -> None:
    """One document; more fields than are known do no harm."""
    query = {"query_id": 7, "text": "whales", "relevant": [{"doc": "a.md", "grade": 3, "who": "jo"}], "lang": "en"}
    content = parse_dataset(plain(query))

    assert content.format is DatasetFormat.JSON
    assert said(content) == {"7": ("whales", {"a.md": 3})}


def test_bytes_of_windows_are_read() -> None:
    """A byte order mark and CRLF change nothing; a line separator inside a text ends no line."""
    queries = '\ufeff{"_id": "1", "text": "wha\u2028les"}\r\n\r\n'.encode()
    content = parse_dataset(beir(queries, b"\xef\xbb\xbfquery-id\tcorpus-id\tscore\r\n1\ta\t1.0\r\n"))

    assert said(content) == {"1": ("wha\u2028les", {"a": 1})}
    assert parse_dataset(beir(queries, b"1\ta\t1")).fingerprint() == content.fingerprint()


@pytest.mark.parametrize(
    ("there", "split", "chosen"),
    [
        (("train", "test", "dev"), None, "test"),
        (("train", "test", "dev"), "dev", "dev"),
        (("train",), None, "train"),
        (("train", "dev"), None, None),
        (("train", "dev"), "test", None),
        (("test",), "dev", None),
    ],
)
def test_a_split_chooses_the_judgments(there: tuple[str, ...], split: str | None, chosen: str | None) -> None:
    """The one asked for, else ``test``, else the only one; else it is said which there are."""
    files = {"queries.jsonl": QUERIES, **{f"qrels/{name}.tsv": f"1\t{name}\t1\n".encode() for name in there}}

    if chosen is None:
        message = refusal(files, split)
        assert all(f"qrels/{name}.tsv" in message for name in there)
        assert "--split" in message
    else:
        assert said(parse_dataset(files, split)) == {"1": ("whales", {chosen: 1})}


def test_the_split_of_trec_files_is_a_word_of_their_names() -> None:
    """Topics of a split go with its judgments; one file of topics goes with all."""
    files = {"topics.dev.tsv": b"1\tdev\n", "topics.eval.tsv": b"1\teval\n", "qrels-dev.txt": b"1 0 a 1\n"}
    of_dev = parse_dataset({**files, "qrels-eval.txt": b"1 0 b 1\n"}, "dev")
    of_all = parse_dataset({"topics": b"1\tall\n", "qrels-dev": b"1 0 a 1\n", "qrels-x": b"1 0 b 1\n"}, "x")

    assert said(of_dev) == {"1": ("dev", {"a": 1})}
    assert said(of_all) == {"1": ("all", {"b": 1})}


@pytest.mark.skipif(not CRANFIELD.exists(), reason="the dataset is not shipped with the project")
def test_a_real_dataset_is_read() -> None:
    """Cranfield: 225 queries with 1 837 judgments, 225 of which say that something is not relevant."""
    names = ("queries.jsonl", "qrels/test.tsv")
    content = parse_dataset({name: (CRANFIELD / name).read_bytes() for name in names})

    grades = [judged.grade for query in content.queries for judged in query.relevant]
    assert (len(content.queries), content.judgments, content.notes) == (225, 1837, ())
    assert {grade: grades.count(grade) for grade in set(grades)} == {0: 225, 1: 128, 2: 387, 3: 734, 4: 363}


# --- the same and not ---------------------------------------------------------------------------


def test_a_fingerprint_is_of_what_is_said() -> None:
    """Format, order and what is said twice do not matter; every word and grade does."""
    content = parse_dataset(beir())
    other = parse_dataset(
        plain(
            {"query_id": "2", "text": "rockets", "relevant": [{"doc": "c d.md", "grade": 1}]},
            {
                "query_id": "1",
                "text": "whales",
                "relevant": [{"doc": "b.md", "grade": 0}, {"doc": "a.md", "grade": 2}, {"doc": "a.md", "grade": 2}],
            },
        )
    )
    changed = [
        parse_dataset(beir(qrels=QRELS.replace(b"\t2\n", b"\t3\n"))),
        parse_dataset(beir(qrels=QRELS.replace(b"a.md", b"a.txt"))),
        parse_dataset(beir(QUERIES.replace(b"whales", b"whale"))),
        parse_dataset(beir(qrels=QRELS.replace(b"1\tb.md\t0\n", b""))),
    ]

    assert content.fingerprint() == other.fingerprint()
    assert other.notes == ("1 judgments were said twice, and count once",)
    assert len({each.fingerprint() for each in (content, *changed)}) == 5


@given(
    st.dictionaries(
        st.text(st.characters(categories=("L", "N")), min_size=1, max_size=5),
        st.tuples(
            st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=9),
            st.dictionaries(
                st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=9),
                st.integers(-2, 4),
                min_size=1,
                max_size=4,
            ),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_all_formats_say_the_same(queries: dict[str, tuple[str, dict[str, int]]]) -> None:
    """Whatever ids, texts and names of documents are, as long as the format has room for them."""
    judgments = [(name, doc, grade) for name, (_, judged) in queries.items() for doc, grade in judged.items()]
    lines = [orjson.dumps({"_id": name, "text": text}) for name, (text, _) in queries.items()]
    as_beir = beir(b"\n".join(lines), "\n".join(f"{q}\t{d}\t{g}" for q, d, g in judgments).encode())
    as_trec = {
        "topics.tsv": "\n".join(f"{name}\t{text}" for name, (text, _) in queries.items()).encode(),
        "qrels": "\n".join(f"{q} 0 {d} {g}" for q, d, g in judgments).encode(),
    }
    as_json = plain(
        *(
            {"query_id": name, "text": text, "relevant": [{"doc": d, "grade": g} for d, g in judged.items()]}
            for name, (text, judged) in queries.items()
        )
    )

    read = [parse_dataset(files) for files in (as_beir, as_trec, as_json)]

    assert [said(content) for content in read] == [queries] * 3
    assert len({content.fingerprint() for content in read}) == 1


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (beir(QUERIES + b'{"_id": "1", "text": "again"}'), ["queries.jsonl:4", "before"]),
        (beir(QUERIES + b"{"), ["queries.jsonl:4", "no JSON"]),
        (beir(QUERIES + b'["1"]'), ["queries.jsonl:4", "`_id` and `text`"]),
        (beir(QUERIES + b'{"_id": "4", "text": " "}'), ["queries.jsonl:4", "no text"]),
        (beir(QUERIES + b'{"_id": "4", "text": 4}'), ["queries.jsonl:4", "no text"]),
        (beir(QUERIES + b'{"_id": "4 5", "text": "x"}'), ["queries.jsonl:4", "without spaces"]),
        (beir(QUERIES + b'{"_id": true, "text": "x"}'), ["queries.jsonl:4", "not True"]),
        (beir(QUERIES + b'{"_id": "4", "text": "a\\u0000b"}'), ["queries.jsonl:4", "NUL"]),
        (beir(QUERIES + b'{"_id": "4", "text": "%s"}' % (b"x" * (LONGEST_QUERY + 1))), [":4", str(LONGEST_QUERY)]),
        (beir(QUERIES + b"\n\xff"), ["queries.jsonl:5", "not UTF-8"]),
        (beir("\ufeff{}".encode("utf-16-le")), ["queries.jsonl", "UTF-16"]),
        (beir(qrels=QRELS + b"9\ta.md\t1\n"), ["qrels/test.tsv:5", "no query '9'"]),
        (beir(qrels=QRELS + b"1\ta.md\t1\n"), ["qrels/test.tsv:5", "judged 2 before, and 1 here"]),
        (beir(qrels=QRELS + b"1\tx\t1.5\n"), ["qrels/test.tsv:5", "integer", "'1.5'"]),
        (beir(qrels=QRELS + b"1\tx\t5\n"), ["qrels/test.tsv:5", "-2 to 4"]),
        (beir(qrels=QRELS + b"1\tx\t-3\n"), ["qrels/test.tsv:5", "-2 to 4"]),
        (beir(qrels=QRELS + b"1\t\t1\n"), ["qrels/test.tsv:5", "named by a text"]),
        (beir(qrels=QRELS + b"1\tx\0\t1\n"), ["qrels/test.tsv:5", "NUL"]),
        (beir(qrels=QRELS + b"1 x 1\n"), ["qrels/test.tsv:5", "1 columns"]),
        (beir(qrels=b""), ["no query has a judgment"]),
        (beir(b""), ["qrels/test.tsv:2", "no query '1'"]),
        ({"queries.jsonl": QUERIES}, ["no file with judgments"]),
        ({"a.tsv": QRELS}, ["queries.jsonl", "a.tsv"]),
        ({}, ["queries.jsonl", "none"]),
        ({"a.json": b"{}", "b.json": b"{}"}, ["a.json, b.json"]),
        ({"qrels": b"1 0 a 1", "topics": b"1"}, ["topics:1", "tab"]),
        ({"qrels": b"1 0 a", "topics": b"1\ta"}, ["qrels:1", "3 columns"]),
        ({"qrels": b"1 0 a 1", "topics": b"\n<top><num>1</num></top>"}, ["topics:2", "<title>"]),
        ({"qrels": b"1 0 a 1", "topics": b"<top><num>1<title>x"}, ["topics:1", "no </top>"]),
        ({"qrels": b"1 0 a 1"}, ["no file with topics"]),
        (plain(version=2), ["schema_version"]),
        (plain(version=True), ["schema_version"]),
        ({"d.json": b"[]"}, ["schema_version"]),
        ({"d.json": b'{\n"queries": x}'}, ["d.json:2", "no JSON"]),
        (plain({"query_id": "1", "text": "x"}), ["queries[0]", "`relevant`"]),
        (plain({"query_id": "1", "text": "x", "relevant": {}}), ["queries[0].relevant", "list"]),
        (plain({"query_id": "1", "text": "x", "relevant": [{"doc": "a"}]}), ["queries[0].relevant[0]", "`grade`"]),
        (
            plain({"query_id": "1", "text": "x", "relevant": [{"doc": "a", "grade": True}]}),
            ["queries[0].relevant[0]", "integer"],
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(files: dict[str, bytes], told: list[str]) -> None:
    """Which file, which line, and what would be right."""
    message = refusal(files)

    assert all(part in message for part in told), message


def test_several_things_are_said_at_once() -> None:
    """The first 20 of them, and how many more there are."""
    message = refusal(beir(qrels=b"".join(b"1\tx%d\t7\n" % number for number in range(50))))

    # the last one is that nothing is judged
    assert message.count("qrels/test.tsv:") == 20
    assert message.endswith("and 31 more")


def test_a_long_value_is_not_repeated_in_full() -> None:
    """Nor is the text of a query."""
    message = refusal(beir(qrels=b"9%s\ta\t1\n" % (b"9" * 1000)))
    nested = refusal(plain({"query_id": [[1] * 1000], "text": "x", "relevant": [{"doc": {"a": 1}, "grade": 1}]}))

    assert len(message) < 300
    assert "not list" in nested


def test_a_long_value_costs_once() -> None:
    """An id of megabytes with many judgments is refused in time: each of them shows no more than its beginning."""
    judged = [{"doc": str(number), "grade": 1} for number in range(100_000)]
    message = refusal(plain({"query_id": "x" * 5_000_000, "text": "whales", "relevant": judged}))

    assert "99982 more" in message


# --- sizes --------------------------------------------------------------------------------------


def many(queries: int, judgments: int = 1) -> dict[str, bytes]:
    """So many queries with so many judgments each."""
    return beir(
        b"\n".join(b'{"_id": "%d", "text": "x"}' % query for query in range(queries)),
        b"\n".join(b"%d\t%d\t1" % (query, doc) for query in range(queries) for doc in range(judgments)),
    )


def test_the_largest_dataset_is_taken() -> None:
    """As many queries as are allowed, and as many judgments of one; one more is too many."""
    content = parse_dataset(many(MOST_QUERIES))
    judged = parse_dataset(many(1, MOST_JUDGMENTS))
    with pytest.raises(DatasetTooLargeError) as queries:
        parse_dataset(many(MOST_QUERIES + 1))
    with pytest.raises(DatasetTooLargeError) as judgments:
        parse_dataset(many(2, MOST_JUDGMENTS + 1))

    assert (len(content.queries), judged.judgments) == (MOST_QUERIES, MOST_JUDGMENTS)
    assert f"{MOST_QUERIES + 1} queries" in queries.value.message
    assert "--limit-queries" in queries.value.message
    assert f"query '0' with {MOST_JUDGMENTS + 1}" in judgments.value.message


def test_some_of_many_queries_are_the_same_each_time() -> None:
    """Chance chooses them by their ids: also where others come or go, and in whatever order they come."""
    files = many(3000)
    content = parse_dataset(files, None, 50)
    turned = {name: b"\n".join(reversed(text.split(b"\n"))) for name, text in files.items()}
    fewer = parse_dataset(many(2000), None, 50)

    chosen = [query.query_id for query in content.queries]
    assert chosen == sorted(chosen, key=int)
    assert chosen != [str(number) for number in range(50)]
    assert parse_dataset(turned, None, 50).fingerprint() == content.fingerprint()
    assert {name for name in chosen if int(name) < 2000} <= {query.query_id for query in fewer.queries}
    assert content.notes == ("2950 of 3000 queries were left out by chance",)
    assert len(parse_dataset(many(10), None, 50).queries) == 10
