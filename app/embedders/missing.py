"""Stands for a model that nobody serves any more."""

from collections.abc import Sequence

from app.domain.errors import DomainError
from app.domain.points import Vectors


class MissingEmbedder:
    """An ``Embedder`` that says why there is none whenever it is asked for something."""

    cache_prefix: str | None = None

    def __init__(self, model: str, error: DomainError) -> None:
        self.model = model
        self._error = error

    async def dimension(self) -> int:
        """See the port."""
        raise self._error

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:  # noqa: ARG002 — as the port has it
        """See the port."""
        raise self._error

    async def embed_query(self, text: str) -> Vectors:  # noqa: ARG002 — as the port has it
        """See the port."""
        raise self._error

    async def aclose(self) -> None:
        """There is nothing to release."""
