"""Jupyter notebooks: words, code and what the code has written, without its pictures."""

import re
from typing import Any

import orjson

from app.pipeline.extract.result import Extracted, ExtractionError
from app.pipeline.extract.texts import decode, find_heading, strip_tags

COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def extract_notebook(content: bytes, mime_type: str) -> Extracted:
    """The cells in order: Markdown as it is, code and text outputs fenced.

    Raises:
        ExtractionError: ``corrupt_document`` if it is no notebook.
    """
    try:
        notebook = orjson.loads(decode(content))
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]
        language = str(notebook.get("metadata", {}).get("kernelspec", {}).get("language", "python"))
        parts = [part for cell in cells for part in _read_cell(cell, language)]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ExtractionError("corrupt_document", "named .ipynb, but it is no notebook") from error
    text = "\n\n".join(part for part in parts if part)
    return Extracted(text=text, mime_type=mime_type, title=find_heading(text))


def _read_cell(cell: dict[str, Any], language: str) -> list[str]:
    source = _join(cell.get("source", cell.get("input", ""))).strip()
    if cell.get("cell_type") != "code":
        return [source]
    outputs = [_read_output(output).strip() for output in cell.get("outputs", ())]
    return [_fence(source, language), *(_fence(output, "") for output in outputs)]


def _fence(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```" if text else ""


def _read_output(output: dict[str, Any]) -> str:
    if "traceback" in output:
        return f"{output.get('ename', '')}: {output.get('evalue', '')}"
    data = output.get("data", {})
    for mime_type in ("text/markdown", "text/plain"):
        if mime_type in data:
            return COLOURS.sub("", _join(data[mime_type]))
    if "text/html" in data:
        return strip_tags(_join(data["text/html"]))
    return COLOURS.sub("", _join(output.get("text", "")))


def _join(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)
