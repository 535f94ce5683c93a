"""Errors of reranking; the tree is in ``app/domain/errors.py``."""

from app.domain.errors import InvalidInputError, PermanentError, TransientError


class RerankerMissingError(InvalidInputError):
    """A search asks to be reranked, and this server has no reranker."""

    code = "reranker_missing"

    def __init__(self) -> None:
        super().__init__("this server has no reranker: leave rerank out, or set VECLOOM_RERANKER_URL")


class RerankerUnavailableError(TransientError):
    """The reranker does not answer in time, or answers 408, 424, 425, 429 or 5xx."""

    code = "reranker_unavailable"


class RerankerRejectedError(PermanentError):
    """The reranker refuses the key, has nothing at this address, or refuses a text (any other 4xx)."""

    code = "reranker_rejected"


class RerankerGarbageError(TransientError):
    """The answer cannot be used: not JSON, not one finite score for each text."""

    code = "reranker_garbage"
