"""The files inside the wordllama wheel. Its code is not imported: it loads five times as much as reads them."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from safetensors import safe_open
from tokenizers import Tokenizer

from app.domain.points import Vectors

TOKENIZER = Path("tokenizers") / "l2_supercat_tokenizer_config.json"
WEIGHTS = Path("weights") / "l2_supercat_256.safetensors"


def find_file(name: Path) -> Path:
    """Where a file of the wheel is installed.

    Raises:
        ModuleNotFoundError: if the wheel is not.
    """
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("wordllama is not installed", name="wordllama")
    return Path(spec.origin).parent / name


@cache
def load_tokenizer() -> Tokenizer:
    """Its tokenizer, without padding or truncation; loaded once a process."""
    tokenizer = Tokenizer.from_file(str(find_file(TOKENIZER)))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def read_vectors() -> Vectors:
    """Its token vectors, shape ``(vocabulary, 256)``."""
    with safe_open(find_file(WEIGHTS), framework="np") as file:
        vectors: Vectors = np.ascontiguousarray(file.get_tensor("embedding.weight"), dtype=np.float32)
    return vectors
