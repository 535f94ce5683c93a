"""How the vector store indexes and keeps the vectors of a collection."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from app.domain.errors import InvalidIndexSettingsError

SHOWN = 40


class Quantization(StrEnum):
    """What is searched first in place of the vectors: nothing, a byte for each number, a bit for each number."""

    NONE = "none"
    SCALAR = "scalar"
    BINARY = "binary"
    OTHER = "other"
    """Of a kind that somebody else has set; never one of our settings."""


BOUNDS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"hnsw_m": (0, 512), "ef_construct": (4, 10_000), "ef_search": (1, 10_000)}
)
"""Least and most. The least are Qdrant's own; the most keep a slip of the hand from filling a machine."""
OVERSAMPLING: Mapping[Quantization, float] = MappingProxyType({Quantization.SCALAR: 2.0, Quantization.BINARY: 4.0})
"""How many times the points that are wanted are compared by their whole vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSettings:
    """What a generation asks of the vector store; None is whatever the store does by itself.

    Attributes:
        hnsw_m: links of each point in the graph that approximate searches follow; 0 for no graph.
        ef_construct: how many neighbours are looked at while the graph is built.
        ef_search: how many points a search keeps in sight; said with each query, the store need not know.
        quantization: what is searched before whole vectors are compared.
        hnsw_on_disk, vectors_on_disk, payload_on_disk: read from disk when they are needed, not held in memory.
    """

    hnsw_m: int | None = None
    ef_construct: int | None = None
    ef_search: int | None = None
    quantization: Quantization = Quantization.NONE
    hnsw_on_disk: bool | None = None
    vectors_on_disk: bool | None = None
    payload_on_disk: bool | None = None

    @property
    def oversampling(self) -> float | None:
        """What ``PointQuery.oversampling`` has to be for such a collection."""
        return OVERSAMPLING.get(self.quantization)

    def is_met_by(self, stored: "IndexSettings") -> bool:
        """Whether a collection with ``stored`` needs no ``VectorStore.update_index`` to be as this says.

        How it is searched is no matter of the store. Where vectors and payload are only counts if this says it.
        """
        graph = ("hnsw_m", "ef_construct", "hnsw_on_disk", "quantization")
        said = [name for name in ("vectors_on_disk", "payload_on_disk") if getattr(self, name) is not None]
        return all(getattr(self, name) == getattr(stored, name) for name in (*graph, *said))

    def to_config(self) -> dict[str, Any]:
        """As JSON has it, without what is left to the store."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: str(value) if isinstance(value, Quantization) else value
            for name, value in values.items()
            if value is not None and value is not Quantization.NONE
        }

    @classmethod
    def from_config(cls, config: object) -> "IndexSettings":
        """Settings as JSON has them; what is missing or null is left to the store.

        Raises:
            InvalidIndexSettingsError: with what has to be changed.
        """
        if config is None:
            return cls()
        if not isinstance(config, Mapping):
            raise InvalidIndexSettingsError("they must be an object")
        known = [field.name for field in fields(cls)]
        unknown = next((str(name) for name in config if name not in known), None)
        if unknown is not None:
            raise InvalidIndexSettingsError(f"there are {', '.join(known)}, not {unknown[:SHOWN]}")
        settings = cls(
            hnsw_m=_read_number("hnsw_m", config),
            ef_construct=_read_number("ef_construct", config),
            ef_search=_read_number("ef_search", config),
            quantization=_read_quantization(config.get("quantization")),
            hnsw_on_disk=_read_flag("hnsw_on_disk", config),
            vectors_on_disk=_read_flag("vectors_on_disk", config),
            payload_on_disk=_read_flag("payload_on_disk", config),
        )
        if settings.hnsw_m == 0 and (settings.ef_construct is not None or settings.hnsw_on_disk is not None):
            raise InvalidIndexSettingsError("hnsw_m is 0, so there is no graph for ef_construct or hnsw_on_disk")
        return settings


def _read_number(name: str, config: Mapping[str, Any]) -> int | None:
    value, (least, most) = config.get(name), BOUNDS[name]
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidIndexSettingsError(f"{name} must be a whole number from {least} to {most}")
    return value


def _read_flag(name: str, config: Mapping[str, Any]) -> bool | None:
    value = config.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidIndexSettingsError(f"{name} must be true or false")
    return value


def _read_quantization(value: Any) -> Quantization:  # noqa: ANN401 — JSON
    known = [kind.value for kind in Quantization if kind is not Quantization.OTHER]
    if value is None:
        return Quantization.NONE
    if not isinstance(value, str) or value not in known:
        raise InvalidIndexSettingsError(f"quantization must be one of {', '.join(known)}")
    return Quantization(value)
