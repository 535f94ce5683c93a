"""A tiny ONNX model that really runs: one vector a word, looked up in a table. Written as protobuf, byte by byte."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

WORDS = ("[PAD]", "[UNK]", "whales", "swim", "in", "the", "ocean", "rockets", "burn", "fuel")
DIMENSION = 8
INT64, FLOAT = 7, 1


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _value(name: str, kind: int, shape: tuple[str | int, ...]) -> bytes:
    sizes = (_bytes(1, _bytes(2, size) if isinstance(size, str) else _number(1, size)) for size in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, b"".join(sizes))))


def table() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The vectors of the words."""
    values: np.ndarray[tuple[int, int], np.dtype[np.float32]] = (
        np.random.default_rng(3).normal(size=(len(WORDS), DIMENSION)).astype(np.float32)
    )
    return values


def write_model(folder: Path) -> Path:
    """Write the model and its tokenizer into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = table()
    tensor = b"".join(_number(1, size) for size in weights.shape)
    tensor += _number(2, FLOAT) + _bytes(8, "table") + _bytes(9, weights.astype("<f4").tobytes())
    node = _bytes(1, "table") + _bytes(1, "input_ids") + _bytes(2, "last_hidden_state") + _bytes(4, "Gather")
    graph = _bytes(1, node) + _bytes(2, "words") + _bytes(5, tensor)
    graph += _bytes(11, _value("input_ids", INT64, ("batch", "tokens")))
    graph += _bytes(11, _value("attention_mask", INT64, ("batch", "tokens")))
    graph += _bytes(12, _value("last_hidden_state", FLOAT, ("batch", "tokens", DIMENSION)))
    model = _number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, "") + _number(2, 17))
    (folder / "model.onnx").write_bytes(model)
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"model_max_length": 64, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
