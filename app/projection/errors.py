"""Errors of projections that are asked for."""

from app.domain.errors import InvalidInputError


class InvalidProjectionError(InvalidInputError):
    """A projection cannot be made as asked."""

    code = "invalid_projection"

    def __init__(self, message: str) -> None:
        super().__init__(f"this projection cannot be made: {message}")
