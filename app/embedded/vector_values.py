"""Reads the values inside Qdrant's REST bodies: ids, vectors, filters, selections.

What this server does not do is refused, never ignored: half a filter would find, or delete, too much. And
whatever the engine would choke on is refused here, because by then it stands in the write-ahead log.
"""

import binascii
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
import qdrant_edge as edge

from app.embedded.vector_errors import BadRequestError

PointId = int | str | UUID
Embed = Callable[[Any], edge.SparseVector]
Default = TypeVar("Default", int, None)

FILTER_KEYS = ("must", "must_not", "should")
MAX_LIMIT = 1_000_000
FLOAT32_MAX = float(np.finfo(np.float32).max)
UINT32_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The named vectors of a collection: the dimension of each dense one, and the sparse ones."""

    dense: Mapping[str, int]
    sparse: frozenset[str]


@contextmanager
def refusing() -> Iterator[None]:
    """What a reader or one of the engine's constructors cannot take is the caller's mistake."""
    try:
        yield
    except KeyError as error:
        raise BadRequestError(f"missing field {error}") from error
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadRequestError(str(error)) from error


def read_fields(value: Any, *known: str) -> dict[str, Any]:
    """An object that says nothing but ``known`` fields."""
    if not isinstance(value, dict):
        raise BadRequestError("expected an object")
    unknown = [key for key, inner in value.items() if inner is not None and key not in known]
    if unknown:
        raise BadRequestError(f"this server does not do {', '.join(map(repr, unknown))}")
    return value


def read_int(value: Any, *, default: Default, least: int, most: int = MAX_LIMIT) -> int | Default:
    """A count within bounds; ``default`` where the body says nothing."""
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BadRequestError(f"expected an integer from {least} to {most}, got {value!r}")
    return value


def read_number(value: Any, *, least: float, most: float) -> float:
    """A number within bounds."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise BadRequestError(f"expected a number from {least:g} to {most:g}, got {value!r}")
    return float(value)


def read_bool(value: Any) -> bool | None:
    """True or false; None where the body says nothing."""
    if value is not None and not isinstance(value, bool):
        raise BadRequestError(f"expected true or false, got {value!r}")
    return value


def as_list(value: Any) -> list[Any]:
    """Qdrant takes one where it takes many."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def read_id(value: Any) -> PointId:
    """A point id: an unsigned integer or a UUID."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64:
        return value
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise BadRequestError(f"a point id is an unsigned integer or a UUID, not {value!r}") from error


@refusing()
def read_ids(values: Any) -> list[PointId]:
    """A list of point ids."""
    return [read_id(value) for value in values]


def read_vector(value: Any, name: str | None, layout: Layout, embed: Embed) -> Any:
    """A vector of the dense or sparse kind that ``name`` has; ``embed`` makes a sparse one of a text."""
    if name is not None and name in layout.dense:
        return _read_dense(value, layout.dense[name])
    if name in layout.sparse:
        return _read_sparse(value, embed)
    raise BadRequestError(f"Not existing vector name error: {name}")


def _read_dense(value: Any, size: int) -> list[float]:
    if isinstance(value, str):
        return _unpack(value, size)
    if not isinstance(value, list):
        raise BadRequestError("a dense vector is a list of numbers")
    if len(value) != size:
        raise BadRequestError(f"Vector dimension error: expected dim: {size}, got {len(value)}")
    numbers = np.array(value)
    # JSON has no NaN: writers put null, which gives an array of objects here
    if numbers.dtype.kind not in "fiu" or not np.abs(numbers).max() <= FLOAT32_MAX:
        raise BadRequestError("a dense vector holds finite numbers only")
    return value


def pack(numbers: list[float]) -> str:
    """A vector as ``_unpack`` takes it."""
    return binascii.b2a_base64(np.array(numbers, dtype="<f4").tobytes(), newline=False).decode()


def _unpack(value: str, size: int) -> list[float]:
    """A vector in base64 of little-endian float32: half as long as JSON, and read several times as fast."""
    content = binascii.a2b_base64(value, strict_mode=True)
    if len(content) != 4 * size:
        raise BadRequestError(f"Vector dimension error: expected dim: {size}, got {len(content) / 4:g}")
    numbers = np.frombuffer(content, dtype="<f4")
    if not np.isfinite(numbers).all():
        raise BadRequestError("a dense vector holds finite numbers only")
    unpacked: list[float] = numbers.tolist()
    return unpacked


def _read_sparse(value: Any, embed: Embed) -> edge.SparseVector:
    if isinstance(value, dict) and "text" in value:
        return embed(value)
    read_fields(value, "indices", "values")
    indices, values = value["indices"], value["values"]
    if len(indices) != len(values) or len(set(indices)) != len(indices):
        raise BadRequestError("a sparse vector has as many values as indices, each index once")
    if not all(isinstance(index, int) and 0 <= index <= UINT32_MAX for index in indices):
        raise BadRequestError("the indices of a sparse vector are unsigned integers of 32 bits")
    return edge.SparseVector(indices, _read_dense(values, len(values)) if values else [])


@refusing()
def read_filter(value: Any) -> edge.Filter | None:
    """``must``, ``must_not`` and ``should`` of match, has_id and nested conditions; None if it says nothing."""
    if value is None:
        return None
    read_fields(value, *FILTER_KEYS)
    read = {key: [_read_condition(inner) for inner in as_list(value.get(key))] for key in FILTER_KEYS}
    clauses: dict[str, Any] = {key: conditions for key, conditions in read.items() if conditions}
    return edge.Filter(**clauses) if clauses else None


def _read_condition(value: Any) -> Any:
    if not isinstance(value, dict):
        raise BadRequestError("a condition is an object")
    if "has_id" in value:
        return edge.HasIdCondition(set(read_ids(read_fields(value, "has_id")["has_id"])))
    if "key" in value:
        read_fields(value, "key", "match")
        return edge.FieldCondition(value["key"], match=_read_match(value["match"]))
    inner = read_filter(value)
    if inner is None:
        raise BadRequestError("a condition that says nothing")
    return inner


def _read_match(value: Any) -> edge.MatchAny | edge.MatchValue:
    read_fields(value, "any", "value")
    if "any" in value:
        return edge.MatchAny(value["any"])
    return edge.MatchValue(value["value"])


def read_payload_selection(value: Any, *, default: bool) -> Any:
    """All of the payload, none of it, or these fields."""
    if value is None:
        return default
    if isinstance(value, dict):
        value = read_fields(value, "include")["include"]
    return value if isinstance(value, bool) else _read_names(value)


def read_vector_selection(value: Any, layout: Layout) -> Any:
    """All vectors, none, or those of these names."""
    if value is None or isinstance(value, bool):
        return bool(value)
    for name in _read_names(value):
        if name not in layout.dense and name not in layout.sparse:
            raise BadRequestError(f"Not existing vector name error: {name}")
    return value


def _read_names(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise BadRequestError(f"expected true, false or a list of names, not {value!r}")
    return value
