"""Embedding in a child process, which may be killed without harm."""

from collections.abc import Callable

from app.domain.errors import (
    DomainError,
    EmbedderRejectedError,
    EmbedderUnavailableError,
    ProcessDiedError,
    ProcessTimeoutError,
)
from app.domain.points import Vectors
from app.domain.ports import Processes

CHILD_SECONDS = 120.0
CHILD_TRIES = 3


async def embed_in_child(processes: Processes, function: Callable[..., Vectors], *args: object) -> Vectors:
    """Call a function that embeds in a child process, in another one if that is killed.

    Raises:
        EmbedderUnavailableError: if children end again and again, or one takes too long.
        EmbedderRejectedError: if the library fails at one of the texts.
    """
    tries_left = CHILD_TRIES
    while True:
        tries_left -= 1
        try:
            return await processes.run(function, *args, timeout_seconds=CHILD_SECONDS)
        except (ProcessDiedError, MemoryError) as error:
            if tries_left == 0:
                message = f"{CHILD_TRIES} child processes ended while they embedded: {str(error) or 'memory ran out'}"
                raise EmbedderUnavailableError(message) from error
        except ProcessTimeoutError as error:
            raise EmbedderUnavailableError(f"embedding in a child process failed: {error.message}") from error
        except DomainError:
            raise
        except Exception as error:  # whatever the library raises, it is the texts that it fails at
            raise EmbedderRejectedError(f"the library fails at a text ({type(error).__name__})") from error
