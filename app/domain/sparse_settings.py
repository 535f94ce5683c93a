"""How the words of a collection are weighed and told apart."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from app.domain.errors import InvalidInputError

SHOWN = 40
NO_LANGUAGE = "none"
"""Words as they stand: nothing is stemmed, nothing left out."""
LANGUAGES = (
    "arabic", "azerbaijani", "basque", "bengali", "catalan", "danish", "dutch", "english", "finnish", "french",
    "german", "greek", "hebrew", "hungarian", "indonesian", "italian", "kazakh", "nepali", "norwegian", "portuguese",
    "romanian", "russian", "slovene", "spanish", "swedish", "tajik", "turkish", NO_LANGUAGE,
)  # fmt: skip
"""Those whose stop words the store knows, and that have spaces between words."""

BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType({"k": (0, 100), "b": (0, 1), "avg_len": (1, 100_000)})
"""Least and most."""


class InvalidSparseSettingsError(InvalidInputError):
    """Settings of the words of a collection that are unknown, or have a value they cannot have."""

    code = "invalid_sparse_settings"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the settings of the words cannot be used: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseSettings:
    """What a generation asks of BM25; None is whatever the store does by itself (1.2, 0.75, 256, English).

    Attributes:
        k: how much a word counts more for coming again.
        b: how much less words of a long text count, from 0 for not at all to 1.
        avg_len: how many words a text is taken to have, stop words left out; lengths are compared with it.
        language: of stop words and stems, one of ``LANGUAGES``.
    """

    k: float | None = None
    b: float | None = None
    avg_len: float | None = None
    language: str | None = None

    def to_config(self) -> dict[str, Any]:
        """As JSON has it, without what is left to the store."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_config(cls, config: object) -> "SparseSettings":
        """Settings as JSON has them; what is missing or null is left to the store.

        Raises:
            InvalidSparseSettingsError: with what has to be changed.
        """
        if config is None:
            return cls()
        if not isinstance(config, Mapping):
            raise InvalidSparseSettingsError("they must be an object")
        known = [field.name for field in fields(cls)]
        unknown = next((str(name) for name in config if name not in known), None)
        if unknown is not None:
            raise InvalidSparseSettingsError(f"there are {', '.join(known)}, not {unknown[:SHOWN]!r}")
        return cls(
            k=_read_number("k", config),
            b=_read_number("b", config),
            avg_len=_read_number("avg_len", config),
            language=_read_language(config.get("language")),
        )


def _read_number(name: str, config: Mapping[str, Any]) -> float | None:
    value, (least, most) = config.get(name), BOUNDS[name]
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidSparseSettingsError(f"{name} must be a number from {least:g} to {most:g}")
    return float(value)


def _read_language(value: Any) -> str | None:  # noqa: ANN401 — JSON
    if value is not None and value not in LANGUAGES:
        raise InvalidSparseSettingsError(f"language must be one of {', '.join(LANGUAGES)}")
    return value if value is None else str(value)
