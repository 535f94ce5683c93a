"""Settings of an index as JSON, and when the store has to be told."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.errors import InvalidIndexSettingsError
from app.domain.index_settings import IndexSettings, Quantization

FULL: dict[str, Any] = {
    "hnsw_m": 32,
    "ef_construct": 200,
    "ef_search": 128,
    "quantization": "binary",
    "hnsw_on_disk": False,
    "vectors_on_disk": True,
    "payload_on_disk": False,
}


@pytest.mark.parametrize("config", [FULL, {}, {"hnsw_m": 0}, {"vectors_on_disk": False}])
def test_settings_come_back_as_they_were_written(config: dict[str, Any]) -> None:
    """What was said is said again, and nothing else."""
    assert IndexSettings.from_config(config).to_config() == config


@pytest.mark.parametrize("config", [None, {}, {"hnsw_m": None}, {"quantization": "none"}, {"quantization": None}])
def test_nothing_said_is_nothing_set(config: object) -> None:
    """Null, and the word for no quantisation, are the same as silence."""
    assert IndexSettings.from_config(config) == IndexSettings()


WRONG: dict[str, tuple[object, str]] = {
    "a list": ([], "object"),
    "an unknown name": ({"m" * 100: 16}, "hnsw_m"),
    "negative": ({"hnsw_m": -1}, "from 0 to"),
    "too large": ({"hnsw_m": 10**9}, "hnsw_m"),
    "too small": ({"ef_construct": 3}, "from 4 to"),
    "no breadth": ({"ef_search": 0}, "ef_search"),
    "true for a number": ({"hnsw_m": True}, "whole number"),
    "a fraction": ({"hnsw_m": 1.5}, "whole number"),
    "a number for a flag": ({"vectors_on_disk": 1}, "true or false"),
    "an unknown kind": ({"quantization": "product"}, "none, scalar, binary"),
    "somebody else's kind": ({"quantization": "other"}, "none, scalar, binary"),
    "a kind that cannot be compared": ({"quantization": ["scalar"]}, "quantization"),
    "candidates without a graph": ({"hnsw_m": 0, "ef_construct": 100}, "no graph"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_settings_are_refused(case: str) -> None:
    """With what is wrong, and at no great length."""
    config, reason = WRONG[case]

    with pytest.raises(InvalidIndexSettingsError, match=reason) as caught:
        IndexSettings.from_config(config)

    assert len(caught.value.message) < 250


CHANGES: dict[str, tuple[dict[str, Any], bool]] = {
    "nothing": ({}, True),
    "how it is searched": ({"ef_search": 64}, True),
    "silence about vectors": ({"vectors_on_disk": None}, True),
    "links": ({"hnsw_m": 16}, False),
    "links left to the store": ({"hnsw_m": None}, False),
    "candidates": ({"ef_construct": 100}, False),
    "quantisation": ({"quantization": Quantization.NONE}, False),
    "the graph's place": ({"hnsw_on_disk": None}, False),
    "the vectors' place": ({"vectors_on_disk": False}, False),
    "the payload's place": ({"payload_on_disk": True}, False),
}


@pytest.mark.parametrize("case", CHANGES)
def test_the_store_is_told_of_what_it_keeps(case: str) -> None:
    """A change of how it is searched, or silence about where things are, leaves the store as it is."""
    change, is_met = CHANGES[case]
    stored = replace(IndexSettings.from_config(FULL), ef_search=None)

    assert replace(IndexSettings.from_config(FULL), **change).is_met_by(stored) is is_met


def test_quantised_vectors_are_compared_again() -> None:
    """The coarser they are, the more of them."""
    none, scalar, binary = (
        IndexSettings(quantization=kind).oversampling
        for kind in (Quantization.NONE, Quantization.SCALAR, Quantization.BINARY)
    )

    assert none is None
    assert scalar is not None
    assert binary is not None
    assert 1 < scalar < binary
