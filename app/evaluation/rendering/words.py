"""What the codes of a report mean, in sentences for people."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from app.evaluation.rendering.blocks import Cell, Table, Tone, columns
from app.evaluation.rendering.values import ABSENT, amount, number

WHY: Mapping[str, str] = MappingProxyType(
    {
        "not_indexed": "The collection has it, but the index has no chunk of it.",
        "unmapped": "No document of the collection answers to the name that the dataset has for it.",
        "ambiguous": "Several documents of the collection answer to this name, so none was taken for it.",
        "document_failed": "It could not be read or indexed, so there was nothing to find.",
        "needs_ocr": "It is made of pictures of text, which have to be recognised before they can be found.",
        "removed": "It was in the collection once and has been removed.",
        "outranked": "It was found, but more than nine others stood above it.",
        "chunk_too_long": "It has a chunk of more than 512 tokens, which a model blurs or cuts; try smaller ones.",
        "below_top_k": "It was not among the documents that were asked for.",
        "filtered": "The threshold or the number of candidates left it out.",
        "not_found": "The search found fewer documents than were asked for, and not this one.",
        "no_answer": "The search ended with an error, so nothing was found.",
    }
)

MAPPED_BY: Mapping[str, str] = MappingProxyType(
    {
        "id": "document id",
        "uri": "URI",
        "hash": "content hash",
        "content_hash": "content hash",
        "path": "path",
        "name": "file name",
    }
)

OUTCOMES: Mapping[str, Cell] = MappingProxyType(
    {
        "passed": Cell(text="✓ passed", tone=Tone.GOOD),
        "failed": Cell(text="✗ failed", tone=Tone.BAD),
        "cannot_tell": Cell(text="? cannot tell", tone=Tone.UNSURE),
    }
)


def explain(code: object) -> str:
    """Why a document is not where it should be; an unknown code as it is."""
    if not code:
        return ABSENT
    return WHY.get(str(code)) or read_code(code)


def read_code(code: object) -> str:
    """A code without its underscores."""
    return str(code).replace("_", " ")


def tell_settings(settings: object) -> str:
    """``name=value`` for each, nested ones with a dot."""
    return ", ".join(_list_pairs("", settings)) if isinstance(settings, Mapping) else ABSENT


def tell_facts(caption: str, found: Mapping[str, Any], names: Mapping[str, str]) -> Table:
    """A row for each number: those with a name first, then whatever else a newer version may have written."""
    known = [key for key in names if key in found]
    others = [key for key, value in found.items() if key not in names and number(value) is not None]
    rows = [(Cell(text=names.get(key) or read_code(key)), Cell(text=tell(found[key]))) for key in (*known, *others)]
    return Table(caption=caption, columns=columns("what", numbers=("value",)), rows=tuple(rows))


def tell(value: object) -> str:
    """Any single value."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, str) else amount(value)


def _list_pairs(prefix: str, settings: Mapping[str, Any]) -> list[str]:
    pairs = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            pairs += _list_pairs(f"{prefix}{name}.", value)
        elif isinstance(value, list | tuple):
            pairs.append(f"{prefix}{name}={'/'.join(tell(one) for one in value)}")
        else:
            pairs.append(f"{prefix}{name}={tell(value)}")
    return pairs
