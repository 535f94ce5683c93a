"""Settings of the words of a collection: what is taken, and what is not."""

from typing import Any
from uuid import uuid4

import pytest

from app.domain.collections import Generation, GenerationState
from app.domain.documents import Chunking
from app.domain.index_settings import IndexSettings
from app.domain.rebuilds import Level, Target, choose_level, read_target
from app.domain.sparse_settings import InvalidSparseSettingsError, SparseSettings


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"k": 0.9, "b": 0.4},
        {"avg_len": 120.0, "language": "german"},
        {"language": "none"},
        {"k": 0.0, "b": 0.0, "avg_len": 1.0},
    ],
)
def test_settings_come_back_as_they_were(config: dict[str, Any]) -> None:
    """From JSON and to JSON; null and silence are the same."""
    settings = SparseSettings.from_config({**config, **dict.fromkeys({"k", "b"} - config.keys())})

    assert settings.to_config() == config
    assert SparseSettings.from_config(None) == SparseSettings()


@pytest.mark.parametrize(
    "config",
    [
        [],
        "german",
        {"k1": 1.2},
        {"k": -1},
        {"k": "1"},
        {"k": True},
        {"b": 1.01},
        {"avg_len": 0},
        {"avg_len": 1e9},
        {"language": "klingon"},
        {"language": ["german"]},
        {"language": "German"},
        {"b": float("nan")},
    ],
)
def test_what_cannot_be_used_is_refused(config: object) -> None:
    """With a code."""
    with pytest.raises(InvalidSparseSettingsError, match="settings of the words"):
        SparseSettings.from_config(config)


def make_generation(**changes: Any) -> Generation:
    """One that serves."""
    return Generation(
        id=uuid4(),
        collection_id=uuid4(),
        name="g",
        state=GenerationState.ACTIVE,
        model="m",
        dimension=8,
        fingerprint="",
        canaries=b"",
        chunking=Chunking(size=100, overlap=10),
        **changes,
    )


@pytest.mark.parametrize(
    ("now", "wanted", "index", "level"),
    [
        ({}, {}, {"hnsw_m": 32}, Level.INDEX),
        ({"language": "german"}, {"language": "german"}, {"hnsw_m": 32}, Level.INDEX),
        ({}, {"language": "german"}, {}, Level.CHUNKS),
        ({}, {"b": 0.4}, {"hnsw_m": 32}, Level.CHUNKS),
        ({"b": 0.4}, {}, {}, Level.CHUNKS),
    ],
)
def test_other_words_are_written_anew_from_stored_chunks(
    now: dict[str, Any], wanted: dict[str, Any], index: dict[str, Any], level: Level
) -> None:
    """In place is what concerns the index alone; a target survives its way through an operation."""
    old = make_generation(sparse_settings=now)
    target = Target(
        model=old.model,
        chunking=old.chunking,
        index=IndexSettings.from_config(index),
        sparse=SparseSettings.from_config(wanted),
    )

    assert choose_level(old, target, tokenizers={}) is level
    assert read_target(target.to_config()) == target
