"""Writes a dataset in the formats that it can be read from."""

import io
import re
import zipfile
from urllib.parse import quote

import orjson

from app.domain.benchmark_datasets import DatasetContent, DatasetFormat
from app.evaluation.datasets.plain import SCHEMA_VERSION

SPACE = re.compile(r"\s")
LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The same content is the same archive."""


def write_dataset(content: DatasetContent, wanted: DatasetFormat) -> dict[str, bytes]:
    """The files of a dataset in one of the first three formats, by relative name.

    Columns of TREC and BEIR end at white space, so that of names of documents is percent-encoded there.
    """
    if wanted is DatasetFormat.JSON:
        return {"dataset.json": _write_plain(content)}
    if wanted is DatasetFormat.TREC:
        topics = "".join(f"{query.query_id}\t{' '.join(query.text.split())}\n" for query in content.queries)
        return {"topics.tsv": topics.encode(), "qrels.txt": write_qrels(content)}
    lines = [orjson.dumps({"_id": query.query_id, "text": query.text}) for query in content.queries]
    return {"queries.jsonl": b"".join(line + b"\n" for line in lines), "qrels/test.tsv": _write_tsv(content)}


def write_qrels(content: DatasetContent) -> bytes:
    """The judgments in the four columns of TREC."""
    return "".join(
        f"{query.query_id} 0 {_in_column(judged.doc)} {judged.grade}\n"
        for query in content.queries
        for judged in query.relevant
    ).encode()


def write_archive(content: DatasetContent, wanted: DatasetFormat) -> bytes:
    """The files of a dataset in a zip archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, file in write_dataset(content, wanted).items():
            opened.writestr(zipfile.ZipInfo(name, LONG_AGO), file, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def _write_plain(content: DatasetContent) -> bytes:
    queries = [
        {
            "query_id": query.query_id,
            "text": query.text,
            "relevant": [{"doc": judged.doc, "grade": judged.grade} for judged in query.relevant],
        }
        for query in content.queries
    ]
    return orjson.dumps({"schema_version": SCHEMA_VERSION, "queries": queries}) + b"\n"


def _write_tsv(content: DatasetContent) -> bytes:
    rows = (
        f"{query.query_id}\t{_in_column(judged.doc)}\t{judged.grade}\n"
        for query in content.queries
        for judged in query.relevant
    )
    return ("query-id\tcorpus-id\tscore\n" + "".join(rows)).encode()


def _in_column(doc: str) -> str:
    return SPACE.sub(lambda space: quote(space[0]), doc)
