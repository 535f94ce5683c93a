"""What the embedded vector server answers instead of a result."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class AnswerError(Exception):
    """Ends a request with an HTTP status; the text is for the caller."""

    status: ClassVar[int]


class BadRequestError(AnswerError):
    """The body asks for something wrong, or for something this server does not do; the text says what."""

    status = 400

    def __init__(self, reason: str) -> None:
        super().__init__(f"Wrong input: {reason}")


class WrongKeyError(AnswerError):
    """The request has no API key, or another one."""

    status = 401

    def __init__(self) -> None:
        super().__init__("Must provide an API key")


class MissingCollectionError(AnswerError):
    """No collection or alias of this name."""

    status = 404

    def __init__(self, name: str) -> None:
        super().__init__(f"Not found: Collection `{name}` doesn't exist!")


class MissingPointError(AnswerError):
    """No point has this id."""

    status = 404

    def __init__(self, point: object) -> None:
        super().__init__(f"Not found: No point with id {point} found")


class ExistingCollectionError(AnswerError):
    """A collection or alias of this name exists."""

    status = 409

    def __init__(self, name: str) -> None:
        super().__init__(f"Wrong input: Collection `{name}` already exists!")


class BodyTooLargeError(AnswerError):
    """The body is larger than this server reads."""

    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"a body has at most {limit} bytes")


class EngineError(AnswerError):
    """The engine failed at something that was asked correctly."""

    status = 500

    def __init__(self, error: Exception) -> None:
        super().__init__(f"Service internal error: {type(error).__name__}: {error}")


@contextmanager
def failing() -> Iterator[None]:
    """Whatever goes wrong in the block is the engine's failure, unless it is an answer."""
    try:
        yield
    except AnswerError:
        raise
    except Exception as error:  # the engine raises nothing more exact
        raise EngineError(error) from error


class StorageFullError(AnswerError):
    """The disk has too little room left to write safely."""

    status = 507

    def __init__(self) -> None:
        super().__init__("Insufficient storage: make room on the disk of the vector server's data folder")


class StorageError(AnswerError):
    """The operating system refused to read or write a file."""

    status = 500

    def __init__(self, error: OSError) -> None:
        super().__init__(f"Service internal error: {error.strerror or type(error).__name__}")


def read_os_error(error: OSError) -> AnswerError:
    """What the operating system's refusal amounts to."""
    return StorageFullError() if error.errno in NO_ROOM else StorageError(error)
