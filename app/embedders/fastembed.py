"""ONNX models of a local folder, by the library fastembed, which is an extra; nothing is downloaded."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.errors import EmbedderGarbageError, ModelNotLoadedError
from app.domain.points import Vectors
from app.domain.ports import Processes
from app.embedders.child import embed_in_child

NEEDED = ("tokenizer.json", "tokenizer_config.json")
MODEL_FILES = ("model.onnx", "onnx/model.onnx", "model_optimized.onnx", "onnx/model_optimized.onnx")


@cache
def load_model(folder: str, name: str) -> Any:  # noqa: ANN401 — fastembed's class, which may not be installed
    """The model of a folder, loaded once a process.

    Raises:
        ModelNotLoadedError: saying what is missing.
    """
    try:
        # imported here: an extra, and it takes a second
        from fastembed import TextEmbedding  # noqa: PLC0415 — see above
        from fastembed.common.model_description import ModelSource, PoolingType  # noqa: PLC0415 — see above
    except ImportError as error:
        message = f"the extra 'fastembed' is not usable ({error}): pip install 'vecloom[fastembed]'"
        raise ModelNotLoadedError(message) from error
    model_file = find_model_file(Path(folder))
    known = {model["model"].lower(): model for model in TextEmbedding.list_supported_models()}
    try:
        if not (Path(folder) / known.get(name.lower(), {}).get("model_file", model_file)).is_file():
            name = f"{name} of {folder}"
        if name.lower() not in known:
            TextEmbedding.add_custom_model(
                name,
                pooling=PoolingType(find_pooling(Path(folder))),
                normalization=True,
                sources=ModelSource(url=Path(folder).as_uri()),
                dim=0,  # the first answer says it
                model_file=model_file,
            )
        return TextEmbedding(name, specific_model_path=folder, local_files_only=True)
    except Exception as error:  # whatever the library or ONNX raises at somebody's files
        raise ModelNotLoadedError(f"the model in {folder} cannot be loaded: {error}") from error


def find_model_file(folder: Path) -> str:
    """The ONNX file of a folder, relative to it.

    Raises:
        ModelNotLoadedError: if it, or what belongs to it, is not there.
    """
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    file = next((name for name in MODEL_FILES if (folder / name).is_file()), None)
    if file is None or missing:
        lacks = ", ".join(missing or ["an ONNX model, such as model.onnx"])
        raise ModelNotLoadedError(f"{folder} has no {lacks}; set FASTEMBED_PATH to the folder of an ONNX model")
    return file


def find_pooling(folder: Path) -> str:
    """How token vectors become one, as the files of sentence-transformers say; the mean where they do not."""
    try:
        config = json.loads((folder / "1_Pooling" / "config.json").read_text())
    except FileNotFoundError:
        return "MEAN"
    return "CLS" if config.get("pooling_mode_cls_token") else "MEAN"


def embed_texts(folder: str, name: str, texts: Sequence[str]) -> Vectors:
    """Float32 of shape ``(n, dimension)``, rows of norm 1; a blank text is the first axis.

    Raises:
        ModelNotLoadedError: see ``load_model``.
        EmbedderGarbageError: if a vector is zero or not finite.
    """
    model = load_model(folder, name)
    # the tokenizer refuses what is not UTF-8, and some models an empty text
    readable = [text.encode("utf-8", "replace").decode() for text in texts]
    told = [row for row, text in enumerate(readable) if text.strip()]
    sent = [readable[row] for row in told] or ["dimension"]
    made = np.stack(list(model.embed(sent, batch_size=len(sent)))).astype(np.float32)
    norms = np.linalg.norm(made, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise EmbedderGarbageError("the model gives a vector that is zero or not finite")
    vectors: Vectors = np.zeros((len(texts), made.shape[1]), dtype=np.float32)
    vectors[:, :1] = 1.0
    if told:
        vectors[told] = made / norms
    return vectors


class FastEmbedder:
    """``Embedder`` over a model in a folder.

    Args:
        model: its name; for one that fastembed knows it decides how token vectors are pooled.
        processes: where it is loaded, once a child.
    """

    def __init__(
        self, folder: Path, *, model: str, processes: Processes, query_prefix: str = "", document_prefix: str = ""
    ) -> None:
        self.model = model
        self._folder = str(folder)
        self._processes = processes
        self._query_prefix = query_prefix
        self._document_prefix = document_prefix
        self._dimension: int | None = None

    @property
    def cache_prefix(self) -> str:
        """See the port."""
        return self._document_prefix

    async def dimension(self) -> int:
        """See the port."""
        if self._dimension is None:
            self._dimension = (await self._embed([""])).shape[1]
        return self._dimension

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See the port."""
        return await self._embed([self._document_prefix + text for text in texts])

    async def embed_query(self, text: str) -> Vectors:
        """See the port."""
        vector: Vectors = (await self._embed([self._query_prefix + text]))[0]
        return vector

    async def aclose(self) -> None:
        """Nothing is open; its processes are whoever's gave them."""

    async def _embed(self, texts: list[str]) -> Vectors:
        if not texts:
            return np.zeros((0, await self.dimension()), dtype=np.float32)
        return await embed_in_child(self._processes, embed_texts, self._folder, self.model, texts)
